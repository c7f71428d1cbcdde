use super::super::testing::World;

fn entries(world: &World) -> Vec<String> {
    let page = world.get("/history?db=a").json();
    let names = page["history"].as_array().map(Vec::as_slice).unwrap_or_default();
    names.iter().map(|entry| entry["sql"].as_str().unwrap().to_owned()).collect()
}

fn run(world: &World, sql: &str) {
    let body = serde_json::json!({"transaction": [{"statement": sql}]}).to_string();
    world.post("/db?db=a", &body);
}

#[test]
fn reading_alone_makes_no_table() {
    let world = World::new();
    let native = world.sqlite("a", "CREATE TABLE t(x)");
    let has_table =
        || native.prepare("SELECT 1 FROM sqlite_schema WHERE name = '_query_history'").unwrap().exists([]).unwrap();
    queue(&world, "SELECT 1", false);
    (0..3).for_each(|_| world.api.tick());
    assert_eq!(world.get("/history?db=a").json()["total"], 0);
    assert_eq!(world.get("/history/stats?db=a").json()["total_queries"], 0);
    assert!(!has_table());
    queue(&world, "INSERT INTO t VALUES (1)", true);
    world.api.tick();
    assert!(has_table());
    assert_eq!(entries(&world), ["INSERT INTO t VALUES (1)", "SELECT 1"]);
}

/// Queues an entry as a request would.
fn queue(world: &World, sql: &str, wrote: bool) {
    if world.api.databases().is_empty() {
        assert_eq!(world.get("/history?db=a").status, 200);
    }
    let time = std::time::Duration::from_micros(1500);
    let record = super::Record {
        sql: sql.to_owned(),
        is_statement: wrote,
        row_count: 1,
        time,
        error: None,
        source: super::Source::Sql,
    };
    world.api.databases()[0].history.add(vec![record], "10.0.0.1", wrote);
}

#[test]
fn the_endpoints_write_the_queue_first() {
    let world = World::new();
    world.sqlite("a", super::SCHEMA);
    for number in 1..=3 {
        queue(&world, &format!("SELECT {number}"), false);
    }
    let page = world.get("/history?db=a&limit=2&offset=1").json();
    let entry = &page["history"][0];
    assert_eq!(
        (&page["count"], &page["total"], &page["limit"], &page["offset"]),
        (&2.into(), &3.into(), &2.into(), &1.into())
    );
    assert_eq!(page["history"], page["entries"]);
    assert_eq!((&entry["id"], &entry["sql"], &entry["is_statement"]), (&2.into(), &"SELECT 2".into(), &false.into()));
    assert_eq!(
        (&entry["execution_time_ms"], &entry["client_ip"], &entry["source"]),
        (&1.into(), &"10.0.0.1".into(), &"sql".into())
    );
    assert!(entry["timestamp"].as_str().unwrap().ends_with('Z') && entry.get("error").is_none());
    let past = world.get("/history?db=a&offset=9").json();
    assert!(past["history"].is_null() && past["entries"].is_null() && past["count"] == 0, "{past}");
}

#[test]
fn limits_are_clamped_and_signs_refused() {
    let world = World::new();
    world.sqlite("a", super::SCHEMA);
    let limit = |text: &str| world.get(&format!("/history?db=a&limit={text}")).json()["limit"].clone();
    assert_eq!((limit("0"), limit("5000"), limit("7")), (100.into(), 1000.into(), 7.into()));
    for query in ["limit=-1", "offset=-1", "limit=x"] {
        assert_eq!(world.get(&format!("/history?db=a&{query}")).failure(), (400, "INVALID_PARAMETERS".to_owned()));
    }
    assert_eq!(world.get("/history?db=none").failure(), (400, "DATABASE_NOT_FOUND".to_owned()));
    assert_eq!(world.delete("/history/x?db=a").failure(), (400, "INVALID_PARAMETERS".to_owned()));
}

#[test]
fn entries_are_removed_one_by_one_or_all() {
    let world = World::new();
    world.sqlite("a", super::SCHEMA);
    queue(&world, "SELECT 1", false);
    queue(&world, "SELECT 2", false);
    assert_eq!(world.delete("/history/1?db=a").status, 200);
    assert_eq!(world.delete("/history/1?db=a").failure(), (404, "HISTORY_ENTRY_NOT_FOUND".to_owned()));
    assert_eq!(entries(&world), ["SELECT 2"]);
    queue(&world, "SELECT 3", false);
    assert_eq!(world.delete("/history?db=a").json()["success"], true);
    assert!(entries(&world).is_empty());
}

#[test]
fn a_thousand_are_kept() {
    let world = World::new();
    let native = world.sqlite("a", super::SCHEMA);
    for number in 0..900 {
        queue(&world, &number.to_string(), false);
    }
    world.api.tick();
    for number in 900..1050 {
        queue(&world, &number.to_string(), false);
    }
    world.api.tick();
    let bounds = native.query_row("SELECT count(*), min(id), max(id) FROM _query_history", [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
    });
    assert_eq!(bounds, Ok((1000, 51, 1050)));
}

#[test]
fn stats_count_failures_and_average() {
    let world = World::new();
    world.sqlite("a", super::SCHEMA);
    queue(&world, "SELECT 1", false);
    let time = std::time::Duration::from_micros(500);
    let source = super::Source::Kv;
    let failed = super::Record {
        sql: "get k".to_owned(),
        is_statement: false,
        row_count: 0,
        time,
        error: Some("no".to_owned()),
        source,
    };
    world.api.databases()[0].history.add(vec![failed], "local", false);
    let stats = world.get("/history/stats?db=a").json();
    let expected = serde_json::json!({"total_queries": 2, "success_count": 1, "failure_count": 1, "avg_exec_time_ms": 1.0,
        "last_minute": 2, "last_hour": 2});
    assert_eq!(stats, expected);
    assert_eq!(world.get("/history?db=a&limit=1").json()["history"][0]["error"], "no");
}

#[test]
fn a_locked_database_delays_the_history_only() {
    let world = World::new();
    let native = world.sqlite("a", super::SCHEMA);
    queue(&world, "SELECT 1", false);
    native.execute_batch("BEGIN IMMEDIATE").unwrap();
    world.api.tick();
    assert_eq!(world.get("/history?db=a&timeout=1").failure(), (503, "SERVICE_UNAVAILABLE".to_owned()));
    native.execute_batch("COMMIT").unwrap();
    world.api.tick();
    assert_eq!(entries(&world), ["SELECT 1"]);
}

#[test]
fn entries_of_a_file_that_is_gone_are_forgotten() {
    let world = World::new();
    drop(world.sqlite("a", super::SCHEMA));
    queue(&world, "SELECT 1", false);
    std::fs::remove_file(world.path("a")).unwrap();
    assert_eq!(world.get("/history?db=a").failure(), (400, "DATABASE_NOT_FOUND".to_owned()));
    drop(world.sqlite("a", super::SCHEMA));
    assert!(entries(&world).is_empty());
}

#[test]
fn statements_get_into_the_history() {
    let world = World::new();
    world.sqlite("a", "CREATE TABLE other(x)");
    run(&world, "CREATE TABLE t(x)");
    run(&world, "CREATE TABLE t(x)");
    assert_eq!(entries(&world).len(), 2);
}

#[test]
fn the_end_writes_what_is_queued() {
    let world = World::new();
    let native = world.sqlite("a", super::SCHEMA);
    queue(&world, "SELECT 1", false);
    world.api.close();
    assert_eq!(native.query_row("SELECT count(*) FROM _query_history", [], |row| row.get::<_, i64>(0)), Ok(1));
}
