# perl.pl DB NAME COUNT: DBD::SQLite inserts rows one by one, then reads them back.
use strict;
use warnings;
use DBI;
use JSON::PP;

my ($path, $name, $count) = @ARGV;
my ($done, %errors) = (0);
$| = 1;
print "ready\n";
<STDIN>;
my $database = DBI->connect("dbi:SQLite:dbname=$path", "", "", { RaiseError => 1, PrintError => 0, AutoCommit => 1 });
$database->sqlite_busy_timeout(0);
for my $number (0 .. $count - 1) {
    if (eval { $database->do("INSERT INTO events(client, body) VALUES (?, ?)", undef, $name, $number) }) { $done++ }
    else { $errors{$@}++ }
}
my ($rows) = $database->selectrow_array("SELECT count(*) FROM events WHERE client = ?", undef, $name);
die "$rows rows read back of $done written\n" if $rows != $done;
print encode_json({ done => $done, errors => \%errors }), "\n";
