<?php
// php.php DB NAME COUNT: PDO inserts rows one by one, then reads them back.
[, $path, $name, $count] = $argv;
$errors = [];
$done = 0;
echo "ready\n";
fgets(STDIN);
$database = new PDO("sqlite:$path", null, null, [PDO::ATTR_TIMEOUT => 0, PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
for ($number = 0; $number < (int) $count; $number++) {
    try {
        $database->prepare("INSERT INTO events(client, body) VALUES (?, ?)")->execute([$name, $number]);
        $done++;
    } catch (PDOException $error) {
        $errors[$error->getMessage()] = ($errors[$error->getMessage()] ?? 0) + 1;
    }
}
$read = $database->prepare("SELECT count(*) FROM events WHERE client = ?");
$read->execute([$name]);
$rows = (int) $read->fetchColumn();
if ($rows !== $done) {
    fwrite(STDERR, "$rows rows read back of $done written\n");
    exit(1);
}
echo json_encode(["done" => $done, "errors" => (object) $errors]), "\n";
