// node.js DB NAME COUNT: node-sqlite3 inserts rows one by one, then reads them back.
const sqlite3 = require(require.resolve("sqlite3", { paths: [process.cwd(), "/usr/lib/x86_64-linux-gnu/nodejs", "/usr/share/nodejs"] }));
const [path, name, count] = [process.argv[2], process.argv[3], Number(process.argv[4])];
const errors = {};
let done = 0;

function insert(database, number) {
  if (number === count) {
    database.get("SELECT count(*) AS rows FROM events WHERE client = ?", [name], (error, row) => {
      if (error || row.rows !== done) throw error || new Error(`${row.rows} rows read back of ${done} written`);
      database.close(() => console.log(JSON.stringify({ done, errors })));
    });
    return;
  }
  database.run("INSERT INTO events(client, body) VALUES (?, ?)", [name, number], (error) => {
    if (error) errors[error.message] = (errors[error.message] || 0) + 1;
    else done += 1;
    insert(database, number + 1);
  });
}

console.log("ready");
process.stdin.once("data", () => {
  process.stdin.pause();
  const database = new sqlite3.Database(path, (error) => {
    if (error) throw error;
    insert(database, 0);
  });
});
