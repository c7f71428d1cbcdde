use super::super::{Table, prune, schema};
use super::*;

/// What was logged of a key.
fn log(world: &World, key: &str) -> Vec<String> {
    let connection = native(world);
    let mut query = connection.prepare("SELECT op FROM \"hoody:kv_changes\" WHERE key = ?1 ORDER BY seq").unwrap();
    query.query_map([key], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn an_expiry_is_set_and_cleared() {
    let world = world();
    put(&world, "s", "&ttl=600", "1");
    let now: i64 = ask(&world, "GET", "/s", "", &[], "").header("x-created-at").unwrap().parse().unwrap();
    assert_eq!(ask(&world, "GET", "/s", "", &[], "").header("x-expire-at"), Some((now + 600).to_string().as_str()));
    let before = etag(&world, "s");
    has(&post(&world, "/s/persist", "", "").json(), &json!({"success": true, "key": "s", "expire_at": null}));
    let after = etag(&world, "s");
    assert_ne!(before, after);
    let again = post(&world, "/s/persist", "", "");
    assert_eq!(again.json()["etag"], after.as_str());
    assert_eq!(operations(&world, "s"), ["1 SET   - 1", "2 SET   1 1"]);
    assert_eq!(log(&world, "s"), ["set", "ttl"]);
    assert!(post(&world, "/s/expire", "&ttl=5", "").json()["expire_at"].as_i64() >= Some(now + 5));
    put(&world, "s", "", "2");
    assert_eq!(ask(&world, "GET", "/s/entry", "", &[], "").json()["expire_at"], Value::Null);
}

#[test]
fn what_is_no_time_to_live_is_told() {
    let world = world();
    put(&world, "s", "&ttl=0", "1");
    for ttl in ["-1", "x", "1.5", "253402300799", "9223372036854775807"] {
        assert_eq!(
            ask(&world, "PUT", "/s", &format!("&ttl={ttl}"), &[], "1").failure(),
            failure(400, "INVALID_PARAMETERS"),
            "{ttl}"
        );
    }
    for ttl in ["", "&ttl=0", "&ttl=-5", "&ttl=x"] {
        assert_eq!(post(&world, "/s/expire", ttl, "").failure(), failure(400, "INVALID_PARAMETERS"), "{ttl}");
    }
    assert_eq!(post(&world, "/none/expire", "&ttl=5", "").failure(), failure(404, "KEY_NOT_FOUND"));
    assert_eq!(post(&world, "/none/persist", "", "").failure(), failure(404, "KEY_NOT_FOUND"));
}

#[test]
fn a_write_of_a_part_keeps_the_expiry() {
    let world = world();
    put(&world, "d", "&ttl=600", "{\"l\":[1]}");
    let expiry = || ask(&world, "GET", "/d/entry", "", &[], "").json()["expire_at"].clone();
    let first = expiry();
    put(&world, "d", "&path=a", "1");
    post(&world, "/d/incr", "&path=a", "");
    post(&world, "/d/push", "&path=l", "2");
    post(&world, "/d/pop", "&path=l", "");
    post(&world, "/d/remove", "&path=l&index=0", "");
    assert_eq!(expiry(), first);
    put(&world, "d", "&path=a&ttl=0", "1");
    assert_eq!(expiry(), Value::Null);
}

#[test]
fn a_key_whose_time_is_over_is_gone_everywhere() {
    let world = world();
    put(&world, "s", "", "[1]");
    end(&world, "s");
    assert_eq!(ask(&world, "GET", "/s", "", &[], "").failure(), failure(404, "KEY_NOT_FOUND"));
    assert_eq!(ask(&world, "GET", "/s/entry", "", &[], "").failure(), failure(404, "KEY_NOT_FOUND"));
    assert_eq!(ask(&world, "GET", "", "", &[], "").json()["items"], Value::Null);
    assert_eq!(post(&world, "/batch/get", "", "{\"keys\":[\"s\"]}").json()["results"], json!({"s": null}));
    assert_eq!(post(&world, "/batch/delete", "", "{\"keys\":[\"s\"]}").json()["deleted"], 0);
    assert_eq!(post(&world, "/s/pop", "", "").failure(), failure(404, "KEY_NOT_FOUND"));
    assert_eq!(post(&world, "/s/persist", "", "").failure(), failure(404, "KEY_NOT_FOUND"));
    assert_eq!(ask(&world, "DELETE", "/s", "", &[], "").failure(), failure(404, "KEY_NOT_FOUND"));
    let cas = ask(&world, "PUT", "/s", "&if_match=%5B1%5D", &[], "2");
    assert_eq!(cas.json()["error"], "Key does not exist for CAS");
    let condition = ask(&world, "PUT", "/s", "", &[("if-match", "*")], "2");
    assert_eq!((condition.status, &condition.json()["current_etag"]), (412, &Value::Null));
    assert_eq!(log(&world, "s"), ["set", "ttl"]);
    has(&post(&world, "/s/incr", "", "").json(), &json!({"value": 1}));
    assert_eq!(log(&world, "s"), ["set", "ttl", "expire", "set"]);
    assert_eq!(operations(&world, "s"), ["1 SET   - [1]", "2 INCR  1 - 1"]);
}

#[test]
fn the_sweeper_removes_what_is_over() {
    let world = world();
    let connection = native(&world);
    assert_eq!(super::super::sweep(&connection, 5, 10), Ok(0));
    for key in ["a", "b", "c", "d"] {
        put(&world, key, "", "1");
    }
    connection.execute("UPDATE kv_store SET expire_at = 1000 WHERE key < 'd'", []).unwrap();
    assert_eq!(super::super::sweep(&connection, 999, 2), Ok(0));
    assert_eq!(super::super::sweep(&connection, 1000, 2), Ok(2));
    assert_eq!(super::super::sweep(&connection, 1000, 2), Ok(1));
    connection.pragma_update(None, "query_only", true).unwrap();
    assert_eq!(super::super::sweep(&connection, 1000, 2), Ok(0));
    connection.pragma_update(None, "query_only", false).unwrap();
    let left: i64 = connection.query_row("SELECT count(*) FROM kv_store", [], |row| row.get(0)).unwrap();
    assert_eq!((left, log(&world, "a").last().unwrap().as_str()), (1, "expire"));
    connection.execute_batch("DROP TABLE kv_store").unwrap();
    assert_eq!(super::super::sweep(&connection, 1000, 2), Ok(0));
}

#[test]
fn writes_keep_the_log_short() {
    let world = world();
    put(&world, "a", "", "0");
    let connection = native(&world);
    for count in 0..prune::EVERY {
        put(&world, "b", "&history=false", &count.to_string());
        connection.execute("UPDATE \"hoody:kv_changes\" SET ts = 1", []).unwrap();
    }
    let rows: i64 = connection.query_row("SELECT count(*) FROM \"hoody:kv_changes\"", [], |row| row.get(0)).unwrap();
    assert!(rows < 10, "{rows}");
    let meta = schema::meta(&connection, &Table::named("kv_store").unwrap()).unwrap().unwrap();
    assert_eq!(meta.oldest, prune::EVERY);
    let before = etag(&world, "a");
    assert!(before.ends_with(".1\""), "{before}");
}
