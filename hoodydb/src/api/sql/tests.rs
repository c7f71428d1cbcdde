//! Requests to `POST /db` and `GET /query`, from the body to the file.

use serde_json::{Value, json};

use super::super::testing::{Reply, World};

/// Runs a transaction of items on the database `a`.
fn run(world: &World, items: &Value) -> Reply {
    world.post("/db?db=a", &json!({ "transaction": items }).to_string())
}

/// The results of a transaction that is done.
fn results(world: &World, items: &Value) -> Value {
    let reply = run(world, items);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["results"].clone()
}

/// The code and `reqIdx` of one that is not.
fn failure(world: &World, items: &Value) -> (u16, String, i64) {
    let reply = run(world, items);
    let (status, code) = reply.failure();
    (status, code, reply.json()["reqIdx"].as_i64().unwrap_or(-9))
}

fn world() -> World {
    let world = World::new();
    drop(
        world
            .sqlite("a", "CREATE TABLE t(id INTEGER PRIMARY KEY, n TEXT); INSERT INTO t VALUES (1, 'Ada'), (2, 'Bob')"),
    );
    world
}

fn count(world: &World) -> i64 {
    results(world, &json!([{"query": "SELECT count(*) AS n FROM t"}]))[0]["resultSet"][0]["n"].as_i64().unwrap()
}

#[test]
fn items_run_in_order_and_answer_what_they_produce() {
    let world = world();
    let items = json!([
        {"statement": "CREATE TABLE u(a)"},
        {"statement": "INSERT INTO u VALUES (?), (?)", "values": [1, 2]},
        {"statement": "CREATE TABLE v(a)"},
        {"statement": "INSERT INTO u VALUES (:a)", "valuesBatch": [{"a": 3}, {"a": 4}]},
        {"statement": "DELETE FROM u WHERE a > 2 RETURNING a"},
        {"query": "SELECT a, a AS a FROM u"},
        {"query": "UPDATE u SET a = a + 1"},
        {"statement": "/* nothing */"},
        {"statement": "PRAGMA user_version"},
    ]);
    let expected = json!([
        {"success": true, "rowsUpdated": 0},
        {"success": true, "rowsUpdated": 2},
        {"success": true, "rowsUpdated": 0},
        {"success": true, "rowsUpdatedBatch": [1, 1]},
        {"success": true, "resultHeaders": ["a"], "resultSet": [{"a": 3}, {"a": 4}]},
        {"success": true, "resultHeaders": ["a", "a:2"], "resultSet": [{"a": 1, "a:2": 1}, {"a": 2, "a:2": 2}]},
        {"success": true, "resultHeaders": [], "resultSet": []},
        {"success": true, "rowsUpdated": 0},
        {"success": true, "resultHeaders": ["user_version"], "resultSet": [{"user_version": 0}]},
    ]);
    assert_eq!(results(&world, &items), expected);
    let list = world.post("/db?db=a", r#"{"transaction":[{"query":"SELECT id, n FROM t"}],"resultFormat":"LIST"}"#);
    assert_eq!(
        list.text(),
        r#"{"results":[{"success":true,"resultHeaders":["id","n"],"resultSetList":[[1,"Ada"],[2,"Bob"]]}]}"#
    );
}

#[test]
fn several_statements_take_their_values_from_left_to_right() {
    let world = world();
    let sql =
        "INSERT INTO t VALUES (?, ?); -- a comment; \n UPDATE t SET n = ? WHERE id = ?; SELECT n FROM t WHERE id = ?;";
    let items = json!([{"statement": sql, "values": [3, "Cy", "Di", 3, 3]}]);
    assert_eq!(results(&world, &items)[0]["resultSet"], json!([{"n": "Di"}]));
    let named = "DELETE FROM t WHERE id = :id; INSERT INTO t VALUES (:id, :n)";
    assert_eq!(results(&world, &json!([{"statement": named, "values": {"id": 3, "n": "Ed"}}]))[0]["rowsUpdated"], 1);
    for values in [json!([3, "Cy", "Di", 3]), json!([3, "Cy", "Di", 3, 3, 3])] {
        let items = json!([{"statement": sql.replace("INSERT", "REPLACE"), "values": values}]);
        assert_eq!(failure(&world, &items), (400, "SQL_BIND_ERROR".to_owned(), 0));
    }
    let batch = json!([{"statement": "DELETE FROM t; DELETE FROM t", "valuesBatch": [[]]}]);
    assert_eq!(failure(&world, &batch), (400, "SQL_ERROR".to_owned(), 0));
    assert_eq!(count(&world), 3);
}

#[test]
fn the_first_failure_undoes_everything() {
    let world = world();
    for (item, status, code) in [
        (json!({"statement": "INSERT INTO t VALUES (1, 'dup')"}), 409, "SQL_CONSTRAINT"),
        (json!({"statement": "SELEC 1"}), 400, "SQL_ERROR"),
        (json!({"query": "SELECT * FROM nowhere"}), 400, "SQL_ERROR"),
        (json!({"query": "SELECT ?"}), 400, "SQL_BIND_ERROR"),
        (json!({"query": "SELECT ?", "values": [[1]]}), 400, "SQL_BIND_ERROR"),
        (json!({"query": "SELECT 9e999"}), 500, "INTERNAL_ERROR"),
        (json!({"query": "SELECT 1\0"}), 400, "SQL_ERROR"),
        (json!({"statement": "COMMIT"}), 400, "SQL_ERROR"),
        (json!({"statement": "/*client*/COMMIT"}), 400, "SQL_ERROR"),
        (json!({"statement": "ROLLBACK"}), 400, "SQL_ERROR"),
        (json!({"statement": "ATTACH '/tmp/x.db' AS x"}), 400, "SQL_ERROR"),
        (json!({"statement": "VACUUM"}), 400, "SQL_ERROR"),
        (json!({"statement": "PRAGMA journal_mode = WAL"}), 400, "SQL_ERROR"),
    ] {
        let items = json!([{"statement": "INSERT INTO t VALUES (3, 'Cy')"}, item, {"statement": "DELETE FROM t"}]);
        assert_eq!(failure(&world, &items), (status, code.to_owned(), 1), "{items}");
        assert_eq!(count(&world), 2, "{items}");
    }
    let text = run(&world, &json!([{"statement": "INSERT INTO t VALUES (1, 'dup')"}])).json()["error"].clone();
    assert_eq!(text, "UNIQUE constraint failed: t.id");
}

#[test]
fn an_item_that_may_fail_undoes_itself_only() {
    let world = world();
    let items = json!([
        {"statement": "INSERT INTO t VALUES (3, 'Cy'); INSERT INTO t VALUES (1, 'dup')", "noFail": true},
        {"query": "SELECT 1\0", "noFail": true},
        {"query": "SELECT ?", "values": [1, 2], "noFail": true},
        {"statement": "INSERT INTO t VALUES (?, 'x')", "valuesBatch": [[4], [], [5], ["a", "b"], 7], "noFail": true},
        {"statement": "INSERT INTO t VALUES (?, 'x')", "valuesBatch": [[6], [1]], "noFail": true},
        {"statement": "COMMIT", "noFail": true},
    ]);
    let results = results(&world, &items);
    let codes: Vec<_> =
        results.as_array().unwrap().iter().map(|result| result["code"].as_str().unwrap_or("")).collect();
    assert_eq!(codes, ["SQL_CONSTRAINT", "SQL_ERROR", "SQL_BIND_ERROR", "", "SQL_CONSTRAINT", "SQL_ERROR"]);
    assert_eq!(results[3]["rowsUpdatedBatch"], json!([1, 1]));
    assert_eq!(results[3]["rowErrors"].as_array().unwrap().len(), 3);
    assert_eq!(results[0]["success"], false);
    assert_eq!(count(&world), 4);
}

#[test]
fn a_failure_that_ends_the_transaction_is_not_survived() {
    let world = world();
    drop(world.sqlite("a", "CREATE TRIGGER x BEFORE DELETE ON t BEGIN SELECT RAISE(ROLLBACK, 'no'); END"));
    for sql in ["INSERT OR ROLLBACK INTO t VALUES (1, 'dup')", "DELETE FROM t"] {
        let items = json!([{"statement": "INSERT INTO t VALUES (3, 'Cy')"}, {"statement": sql, "noFail": true}, {"query": "SELECT 1"}]);
        assert_eq!(failure(&world, &items), (409, "SQL_CONSTRAINT".to_owned(), 1));
        assert_eq!(count(&world), 2);
    }
    let too_large = json!([{"query": "SELECT zeroblob(100000000)", "noFail": true}]);
    assert_eq!(failure(&world, &too_large), (413, "RESPONSE_TOO_LARGE".to_owned(), -1));
}

#[test]
fn a_clients_savepoints_are_its_own() {
    let world = world();
    let items = json!([
        {"statement": "SAVEPOINT a"},
        {"statement": "DELETE FROM t"},
        {"statement": "RELEASE a; SAVEPOINT a; INSERT INTO t VALUES (9, 'x'); ROLLBACK TO a", "noFail": true},
        {"statement": "SAVEPOINT \"hoody:item\"", "noFail": true},
    ]);
    assert_eq!(results(&world, &items)[3]["code"], "SQL_ERROR");
    assert_eq!(count(&world), 0);
}

#[test]
fn deferred_constraints_fail_the_request_as_a_whole() {
    let world = world();
    drop(world.sqlite("a", "CREATE TABLE c(t REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED)"));
    let items = json!([{"statement": "INSERT INTO c VALUES (77)"}, {"query": "SELECT 1"}]);
    assert_eq!(failure(&world, &items), (409, "SQL_CONSTRAINT".to_owned(), -1));
    assert_eq!(results(&world, &json!([{"query": "SELECT * FROM c"}]))[0]["resultSet"], json!([]));
}

#[test]
fn what_looks_like_reading_and_writes_runs_again() {
    let world = world();
    drop(world.sqlite(
        "a",
        "CREATE VIRTUAL TABLE f USING fts4(x); INSERT INTO f VALUES ('a'), ('b'); INSERT INTO f VALUES ('c')",
    ));
    let items = json!([{"query": "SELECT optimize(f) AS o FROM f LIMIT 1", "noFail": true}]);
    assert_eq!(results(&world, &items)[0]["resultSet"], json!([{"o": "Index optimized"}]));
    // The same in a URL must not write.
    drop(world.sqlite("a", "INSERT INTO f VALUES ('d'); INSERT INTO f VALUES ('e')"));
    let reply = world.get("/query?db=a&sql=SELECT%20optimize(f)%20FROM%20f%20LIMIT%201");
    assert_eq!(reply.failure(), (400, "INVALID_PARAMETERS".to_owned()));
}

#[test]
fn what_one_client_leaves_on_a_connection_no_other_finds() {
    let world = world();
    let items = json!([{"statement": "CREATE TEMP TABLE t(x)"}, {"statement": "INSERT INTO t VALUES (1)"}, {"query": "SELECT * FROM t"}]);
    assert_eq!(results(&world, &items)[2]["resultSet"], json!([{"x": 1}]));
    assert_eq!(results(&world, &json!([{"statement": "UPDATE t SET n = 'x'"}]))[0]["rowsUpdated"], 2);
    results(&world, &json!([{"statement": "PRAGMA recursive_triggers = 1"}]));
    let now =
        results(&world, &json!([{"statement": "PRAGMA recursive_triggers"}, {"statement": "DELETE FROM t WHERE 0"}]));
    assert_eq!(now[0]["resultSet"][0]["recursive_triggers"], 0);
}

#[test]
fn a_kept_statement_sees_the_schema_of_now() {
    let world = world();
    let select = json!([{"query": "SELECT * FROM t WHERE id = 1"}]);
    assert_eq!(results(&world, &select)[0]["resultHeaders"], json!(["id", "n"]));
    drop(world.sqlite("a", "ALTER TABLE t ADD COLUMN more DEFAULT 7"));
    let result = &results(&world, &select)[0];
    assert_eq!(result["resultSet"], json!([{"id": 1, "n": "Ada", "more": 7}]));
    assert_eq!(result["resultHeaders"], json!(["id", "n", "more"]));
    drop(world.sqlite("a", "DELETE FROM t; ALTER TABLE t DROP COLUMN more"));
    assert_eq!(results(&world, &select)[0]["resultHeaders"], json!(["id", "n"]));
}

#[test]
fn internal_tables_are_refused_before_anything_runs() {
    let world = world();
    let capture = "CREATE TABLE \"hoody:kv_changes\"(seq INTEGER PRIMARY KEY AUTOINCREMENT)";
    for sql in
        ["SELECT * FROM \"hoody:kv_changes\"", "DELETE FROM sqlite_sequence", "SELECT * FROM a, 'hoody:kv_changes'"]
    {
        drop(world.sqlite("a", "CREATE TABLE IF NOT EXISTS a(x)"));
        let items = json!([{"statement": "DELETE FROM t"}, {"statement": sql, "noFail": true}]);
        drop(world.sqlite("a", "DROP TABLE IF EXISTS \"hoody:kv_changes\""));
        assert_ne!(run(&world, &json!([{"statement": sql}])).status, 409, "{sql}");
        drop(world.sqlite("a", capture));
        assert_eq!(failure(&world, &items), (409, "CONFLICT".to_owned(), 1), "{sql}");
        assert_eq!(count(&world), 2);
    }
    let reply = world.get("/query?db=a&sql=SELECT%20*%20FROM%20sqlite_sequence");
    assert_eq!(reply.failure(), (409, "CONFLICT".to_owned()));
    results(&world, &json!([{"query": "SELECT name FROM sqlite_schema WHERE name <> 'sqlite_sequence'"}]));
}

#[test]
fn a_missing_database_is_made_only_if_it_may() {
    let world = World::new();
    let body = r#"{"transaction":[{"query":"SELECT 1 AS one"}]}"#;
    let reply = world.post("/db?db=a", body);
    assert_eq!((reply.failure(), reply.json()["reqIdx"].as_i64()), ((400, "DATABASE_NOT_FOUND".to_owned()), Some(-1)));
    let reply = world.post("/db?db=a&create_db_if_missing=true", body);
    assert_eq!(reply.json()["results"][0]["resultSet"], json!([{"one": 1}]));
    let reply = world.post("/db?db=a&create_db_if_missing=true&auto_create=no", body);
    assert_eq!(reply.failure(), (400, "INVALID_PARAMETERS".to_owned()));
    let reply = world.post("/db?db=..%2Fa", body);
    assert_eq!((reply.failure(), reply.json()["reqIdx"].as_i64()), ((400, "INVALID_DB_PATH".to_owned()), Some(-1)));
}

#[test]
fn the_deadline_ends_what_runs() {
    let world = world();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let body = json!({"transaction": [{"statement": "DELETE FROM t"}, {"query": endless, "noFail": true}]}).to_string();
    let reply = world.post("/db?db=a&timeout=1", &body);
    assert_eq!(reply.failure(), (503, "REQUEST_TIMEOUT".to_owned()));
    assert_eq!((reply.json()["reqIdx"].as_i64(), reply.header("Retry-After")), (Some(-1), Some("1")));
    assert_eq!(count(&world), 2);
}

#[test]
fn names_that_are_not_utf8_are_refused() {
    let world = world();
    let native = world.sqlite("a", "");
    native.execute_batch("PRAGMA writable_schema = 1; CREATE TABLE x(a)").unwrap();
    let name = "UPDATE sqlite_schema SET name = CAST(x'ff78' AS TEXT), tbl_name = CAST(x'ff78' AS TEXT), \
                sql = CAST(x'435245415445205441424c452022ff782228612922' AS TEXT) WHERE name = 'x'";
    native.execute_batch(name).unwrap();
    drop(native);
    assert_eq!(failure(&world, &json!([{"query": "SELECT 1"}])), (500, "DATABASE_ERROR".to_owned(), -1));
    assert_eq!(
        world.post("/maintenance?db=a", r#"{"op":"quick_check"}"#).failure(),
        (500, "DATABASE_ERROR".to_owned())
    );
    assert_eq!(world.delete("/db?db=a").status, 200);
}

#[test]
fn a_query_in_a_url_only_reads() {
    let world = world();
    let reply = world.get("/query?db=a&sql=U0VMRUNUIGlkLCBuIEZST00gdCBPUkRFUiBCWSBpZCBMSU1JVCAx");
    let expected = r#"{"success":true,"query":"SELECT id, n FROM t ORDER BY id LIMIT 1","columns":["id","n"],"resultSet":[{"id":1,"n":"Ada"}],"rowCount":1,"truncated":false}"#;
    assert_eq!(reply.text(), expected);
    let reply = world.get("/query?db=a&sql=SELECT%201%20AS%20a%20WHERE%200");
    let expected = r#"{"success":true,"query":"SELECT 1 AS a WHERE 0","columns":["a"],"resultSet":null,"rowCount":0,"truncated":false}"#;
    assert_eq!(reply.text(), expected);
    for (sql, status, code) in [
        ("SELECT%20nothing", 400, "SQL_ERROR"),
        ("SELECT%20?", 400, "SQL_BIND_ERROR"),
        ("SELECT%201%00", 400, "SQL_ERROR"),
        ("SELECT%20zeroblob(100000000)", 413, "RESPONSE_TOO_LARGE"),
        ("SELECT%209e999", 500, "INTERNAL_ERROR"),
        ("DELETE%20FROM%20t", 400, "INVALID_PARAMETERS"),
        ("", 400, "INVALID_PARAMETERS"),
    ] {
        let reply = world.get(&format!("/query?db=a&sql={sql}"));
        assert_eq!(reply.failure(), (status, code.to_owned()), "{sql}");
    }
    assert_eq!(world.get("/query?db=a").failure().1, "INVALID_PARAMETERS");
    assert_eq!(world.get("/query?db=b&sql=SELECT%201").failure(), (400, "DATABASE_NOT_FOUND".to_owned()));
    assert_eq!(count(&world), 2);
}
