use serde_json::{Value, json};

use super::super::testing::{Reply, World};

/// The moment of a key's first operation; each further one comes ten seconds later.
const BEGIN: i64 = 1010;

/// A database `d` whose key `a` was set to 1, 2 and 3.
fn world() -> World {
    let world = World::new();
    world.sqlite("d", "CREATE TABLE other(x)");
    for value in ["1", "2", "3"] {
        put(&world, "a", value);
    }
    date(&world);
    world
}

fn put(world: &World, key: &str, value: &str) -> Reply {
    let reply = world.put(&format!("/kv/{key}?db=d"), value);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply
}

/// Gives all operations their times: the tenth second after the one before.
fn date(world: &World) {
    world.sqlite(
        "d",
        "UPDATE kv_store_history SET ts = 1000 + 10 * op_number,
           unrecorded_until = CASE WHEN unrecorded_until IS NOT NULL THEN 1000 + 10 * op_number END;
         UPDATE kv_store SET created_at = 1010, updated_at = 1010;",
    );
}

fn value(world: &World, key: &str) -> String {
    world.get(&format!("/kv/{key}?db=d")).text().to_owned()
}

fn count(world: &World, sql: &str) -> i64 {
    world.sqlite("d", "").query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn operations_are_listed_newest_first() {
    let world = world();
    let page = world.get("/kv/a/history?db=d&limit=2").json();
    assert_eq!((&page["count"], &page["key"]), (&2.into(), &"a".into()));
    let expected = json!({"op_number": 3, "timestamp": 1030, "operation": {"op": "SET", "path": "", "delta": null,
        "raw_old_value": "Mg==", "raw_new_value": "Mw==", "old_content_type": "application/json",
        "new_content_type": "application/json", "old_expire_at": null, "new_expire_at": null}});
    assert_eq!(page["operations"][0], expected);
    assert_eq!(page["operations"][1]["op_number"], 2);
    assert_eq!(
        world.get("/kv/none/history?db=d").json(),
        json!({"success": true, "key": "none", "count": 0, "operations": []})
    );
    assert_eq!(world.get("/kv/a/history?db=d&table=t2").json()["count"], 0);
    assert_eq!(world.get("/kv/a/history?db=d&limit=0").json()["count"], 3);
    assert_eq!(world.get("/kv/a/history?db=d&limit=-1").failure(), (400, "INVALID_PARAMETERS".to_owned()));
    let unrecorded = world.put("/kv/u?db=d&history=false", "1");
    assert_eq!(unrecorded.status, 200);
    let entry = world.get("/kv/u/history?db=d").json()["operations"][0].clone();
    assert!(entry["unrecorded_until"].is_i64() && entry["operation"]["op"] == "UNRECORDED", "{entry}");
}

#[test]
fn a_snapshot_is_what_an_operation_left() {
    let world = world();
    let snapshot = |query: &str| world.get(&format!("/kv/a/snapshot?db=d&{query}"));
    let expected = json!({"success": true, "op_number": 1, "content_type": "application/json", "value": 1});
    assert_eq!(snapshot("op_number=1").json(), expected);
    assert_eq!(snapshot("op_number=4").failure(), (404, "HISTORY_ENTRY_NOT_FOUND".to_owned()));
    for query in ["", "op_number=0", "op_number=x"] {
        assert_eq!(snapshot(query).failure(), (400, "INVALID_PARAMETERS".to_owned()));
    }
    world.delete("/kv/a?db=d");
    assert_eq!(snapshot("op_number=4").failure(), (404, "KEY_NOT_FOUND".to_owned()));
    world.put("/kv/a?db=d&history=false", "5");
    let gap = snapshot("op_number=5");
    assert_eq!(gap.failure(), (409, "TIME_TRAVEL_CHAIN_GAP".to_owned()));
    assert!(gap.json()["error"] == "TIME_TRAVEL_CHAIN_GAP" && gap.json()["message"].is_string());
}

#[test]
fn a_rollback_undoes_and_forgets_the_newest_operations() {
    let world = world();
    let before = world.get("/kv/a?db=d").header("ETag").unwrap().to_owned();
    let cursor = world.get("/changes?db=d").json()["cursor"].as_str().unwrap().to_owned();
    let done = world.post("/kv/a/rollback?db=d&steps=2", "");
    assert_eq!(done.json(), json!({"success": true, "key": "a", "rolled_back": 2}));
    assert_eq!(value(&world, "a"), "1");
    assert_ne!(world.get("/kv/a?db=d").header("ETag").unwrap(), before);
    let events = world.get(&format!("/changes?db=d&since={cursor}")).json()["events"].clone();
    assert!(events[0]["op"] == "set" && events[0]["key"] == "a", "{events}");
    assert_eq!(world.get("/kv/a/snapshot?db=d&op_number=3").failure(), (404, "HISTORY_ENTRY_NOT_FOUND".to_owned()));
    put(&world, "a", "9");
    assert_eq!(world.get("/kv/a/history?db=d").json()["operations"][0]["op_number"], 2);
    // More steps than there are undo the creation too.
    assert_eq!(world.post("/kv/a/rollback?db=d&steps=50000", "").json()["rolled_back"], 2);
    assert_eq!(world.get("/kv/a?db=d").failure(), (404, "KEY_NOT_FOUND".to_owned()));
    assert_eq!(world.post("/kv/a/rollback?db=d", "").failure(), (404, "HISTORY_ENTRY_NOT_FOUND".to_owned()));
}

#[test]
fn a_rollback_brings_a_removed_key_back_with_its_type_and_its_expiry() {
    let world = world();
    let text = [("Content-Type", "text/plain")];
    let far = i64::MAX / 1_000_000_000;
    world.send("PUT", &format!("/kv/t?db=d&ttl={}", far - 8_000_000_000), &text, "x");
    let entry = world.get("/kv/t/entry?db=d").json();
    world.delete("/kv/t?db=d");
    assert_eq!(world.post("/kv/t/rollback?db=d", "").status, 200);
    let back = world.get("/kv/t/entry?db=d").json();
    for member in ["value_base64", "content_type", "expire_at"] {
        assert_eq!(back[member], entry[member], "{member}");
    }
}

#[test]
fn what_no_history_tells_is_not_undone() {
    let world = world();
    world.put("/kv/a?db=d&history=false", "4");
    put(&world, "a", "5");
    let gap = world.post("/kv/a/rollback?db=d&steps=2", "");
    assert_eq!(gap.failure(), (409, "TIME_TRAVEL_CHAIN_GAP".to_owned()));
    assert!(gap.json()["error"].as_str().unwrap().starts_with("TIME_TRAVEL_CHAIN_GAP: "));
    assert_eq!((value(&world, "a").as_str(), count(&world, "SELECT count(*) FROM kv_store_history")), ("5", 5));
    for query in ["steps=0", "steps=50001", "steps=x"] {
        assert_eq!(
            world.post(&format!("/kv/a/rollback?db=d&{query}"), "").failure(),
            (400, "INVALID_PARAMETERS".to_owned())
        );
    }
    let conditional = world.send("POST", "/kv/a/rollback?db=d", &[("If-Match", "*")], "");
    assert_eq!(conditional.failure(), (400, "INVALID_PARAMETERS".to_owned()));
}

#[test]
fn a_rollback_with_a_key_of_its_own_is_done_once() {
    let world = world();
    let key = [("Idempotency-Key", "k1")];
    let first = world.send("POST", "/kv/a/rollback?db=d", &key, "");
    let again = world.send("POST", "/kv/a/rollback?db=d", &key, "");
    assert_eq!((first.text(), again.header("Idempotent-Replayed")), (again.text(), Some("true")));
    assert_eq!(value(&world, "a"), "2");
    let key = [("Idempotency-Key", "k2")];
    let target = "/kv/rollback?db=d&to_timestamp=1015&confirm=yes";
    let first = world.send("POST", target, &key, "{}");
    assert_eq!(first.json()["rolled_back"], 1);
    assert_eq!(world.send("POST", target, &key, "{}").text(), first.text());
}

#[test]
fn a_key_at_a_time() {
    let world = world();
    let at = |at: i64| world.get(&format!("/kv/a?db=d&at_timestamp={at}"));
    let expected = json!({"success": true, "key": "a", "timestamp": 1029, "value": 2, "content_type": "application/json",
        "op_number": 2, "op_timestamp": 1020});
    assert_eq!(at(1029).json(), expected);
    assert_eq!(at(1030).json()["value"], 3);
    assert_eq!(at(BEGIN - 1).failure(), (404, "KEY_NOT_FOUND".to_owned()));
    assert_eq!(at(0).text(), "3");
    let now = super::super::call::now_s();
    for wrong in [-1, now + 1000, now * 1000] {
        assert_eq!(at(wrong).failure(), (400, "INVALID_PARAMETERS".to_owned()), "{wrong}");
    }
    let conditional = world.send("GET", "/kv/a?db=d&at_timestamp=1029", &[("If-None-Match", "*")], "");
    assert_eq!(conditional.failure(), (400, "INVALID_PARAMETERS".to_owned()));
    world.sqlite("d", "UPDATE kv_store_history SET new_expire_at = 1028 WHERE op_number = 2");
    assert_eq!(at(1028).failure(), (404, "KEY_EXPIRED".to_owned()));
    world.sqlite("d", "INSERT INTO kv_store(key, value, created_at, updated_at) VALUES ('sql', 'x', 1000, 1050)");
    assert_eq!(world.get("/kv/sql?db=d&at_timestamp=1049").failure(), (409, "TIME_TRAVEL_CHAIN_GAP".to_owned()));
    let known = world.get("/kv/sql?db=d&at_timestamp=1050").json();
    assert!(known["value_base64"] == "eA==" && known.get("op_number").is_none(), "{known}");
}

#[test]
fn a_table_at_a_time() {
    let world = world();
    put(&world, "b", "1");
    put(&world, "c", "1");
    world.put("/kv/gap?db=d&history=false", "1");
    put(&world, "gap", "2");
    date(&world);
    let list = world.get("/kv?db=d&at_timestamp=1015&limit=0&offset=1").json();
    let item = json!({"key": "b", "content_type": "application/json", "op_number": 1, "size_estimate": 1, "existed_at_timestamp": true});
    assert_eq!((&list["items"][0], &list["count"], &list["offset"]), (&item, &2.into(), &1.into()));
    assert_eq!(
        (&list["has_gaps"], &list["gap_keys"], &list["candidate_truncated"]),
        (&true.into(), &json!(["gap"]), &false.into())
    );
    let snapshot = world.get("/kv/snapshot?db=d&timestamp=1025&limit=1").json();
    let expected = json!({"success": true, "timestamp": 1025, "snapshot_time": "1970-01-01T00:17:05Z", "total_keys_at_snapshot": 4,
        "count": 1, "keys": [{"key": "a", "value": 2, "content_type": "application/json", "op_number": 2}],
        "has_gaps": false, "gap_keys": null, "candidate_truncated": false});
    assert_eq!(snapshot, expected);
    let prefixed = world.get("/kv/snapshot?db=d&timestamp=1025&prefix=b").json();
    assert_eq!((&prefixed["count"], &prefixed["keys"][0]["key"]), (&1.into(), &"b".into()));
    let before = world.get("/kv/snapshot?db=d&timestamp=5&prefix=a").json();
    assert!(before["keys"].is_null() && before["gap_keys"].is_null() && before["has_gaps"] == false, "{before}");
    assert!(world.get("/kv?db=d&at_timestamp=5&table=t2").json()["items"].is_null());
    for query in ["", "timestamp=0", "timestamp=99999999999", "timestamp=5&limit=-1"] {
        assert_eq!(world.get(&format!("/kv/snapshot?db=d&{query}")).failure(), (400, "INVALID_PARAMETERS".to_owned()));
    }
    assert_eq!(world.get("/kv?db=d&at_timestamp=5&after=a").failure(), (400, "INVALID_PARAMETERS".to_owned()));
}

#[test]
fn two_times_differ() {
    let world = world();
    put(&world, "b", "1");
    put(&world, "c", "1");
    world.delete("/kv/c?db=d");
    put(&world, "d", "1");
    put(&world, "d", "2");
    date(&world);
    world.sqlite("d", "UPDATE kv_store_history SET ts = 1015 WHERE key = 'd' AND op_number = 1");
    let diff = world.get("/kv/diff?db=d&from=1012&to=1025").json();
    assert_eq!(diff["stats"], json!({"created": 1, "modified": 1, "deleted": 1, "unchanged": 1, "total_changes": 3}));
    let between = json!([{"op_number": 2, "operation": "SET", "path": "", "delta": null, "timestamp": 1020}]);
    let json = "application/json";
    let expected = json!([
        {"key": "a", "change_type": "modified", "from_value": 1, "from_content_type": json, "to_value": 2, "to_content_type": json,
         "operations_between": between},
        {"key": "c", "change_type": "deleted", "from_value": 1, "from_content_type": json},
        {"key": "d", "change_type": "created", "to_value": 2, "to_content_type": json}]);
    assert_eq!(diff["changes"], expected);
    assert_eq!((&diff["from_timestamp"], &diff["to_timestamp"]), (&1012.into(), &1025.into()));
    let one = world.get("/kv/diff?db=d&from=1012&to=1025&keys=b,d").json();
    assert_eq!((&one["stats"]["total_changes"], &one["stats"]["unchanged"]), (&1.into(), &1.into()));
    assert!(world.get("/kv/diff?db=d&from=1012&to=1025&keys=b").json()["changes"].is_null());
    for query in ["from=5&to=5", "from=6&to=5", "from=0&to=5", "from=5", "from=5&to=99999999999"] {
        assert_eq!(
            world.get(&format!("/kv/diff?db=d&{query}")).failure(),
            (400, "INVALID_PARAMETERS".to_owned()),
            "{query}"
        );
    }
}

/// `a` changed, `new` was made, `gone` removed and `same` left since 1015; `sql` has no history.
fn changed() -> World {
    let world = world();
    put(&world, "same", "1");
    put(&world, "gone", "\"g\"");
    world.delete("/kv/gone?db=d");
    put(&world, "new", "1");
    date(&world);
    world.sqlite(
        "d",
        "UPDATE kv_store_history SET ts = 1016 WHERE key = 'new'; INSERT INTO kv_store(key, value) VALUES ('sql', 'x');",
    );
    world
}

#[test]
fn a_table_rollback_is_previewed() {
    let world = changed();
    let before = count(&world, "SELECT total_changes()");
    let preview = world.post("/kv/rollback?db=d&to_timestamp=1015&dry_run=true", "").json();
    let json = "application/json";
    let expected = json!({"success": true, "dry_run": true, "to_timestamp": 1015, "preview": {"total_keys": 5, "keys_to_rollback": 1,
        "keys_to_delete": 1, "keys_to_restore": 1, "operations_to_reverse": 2, "untouched_keys": ["sql"], "discovery_truncated": false,
        "changes": [
            {"key": "a", "action": "rollback", "operations_to_undo": 2, "current_value": 3, "current_content_type": json,
             "rollback_value": 1, "rollback_content_type": json},
            {"key": "gone", "action": "restore", "operations_to_undo": 0, "rollback_value": "g", "rollback_content_type": json},
            {"key": "new", "action": "delete", "operations_to_undo": 0, "current_value": 1, "current_content_type": json,
             "reason": "the key was not there at that time"}]}});
    assert_eq!(preview, expected);
    assert_eq!((value(&world, "a").as_str(), count(&world, "SELECT total_changes()")), ("3", before));
    let nothing = world.post("/kv/rollback?db=d&to_timestamp=1050&dry_run=true", "{}").json();
    assert!(nothing["preview"]["changes"].is_null(), "{nothing}");
}

#[test]
fn a_table_rollback_takes_all_keys_back() {
    let world = changed();
    let cursor = world.get("/changes?db=d").json()["cursor"].as_str().unwrap().to_owned();
    let done = world.post("/kv/rollback?db=d&to_timestamp=1015&confirm=yes", "").json();
    let figures =
        ["rolled_back", "deleted", "restored", "total_operations_reversed"].map(|name| done[name].as_i64().unwrap());
    assert_eq!((figures, &done["untouched_keys"]), ([1, 1, 1, 2], &json!(["sql"])));
    assert!(done["duration_ms"].is_u64(), "{done}");
    assert_eq!((value(&world, "a"), value(&world, "gone")), ("1".to_owned(), "\"g\"".to_owned()));
    assert_eq!(world.get("/kv/new?db=d").failure(), (404, "KEY_NOT_FOUND".to_owned()));
    let events = world.get(&format!("/changes?db=d&since={cursor}")).json()["events"].clone();
    let told: Vec<(&str, &str)> =
        events.as_array().unwrap().iter().map(|event| (text(&event["key"]), text(&event["op"]))).collect();
    assert_eq!(told, [("a", "set"), ("gone", "set"), ("new", "delete")]);
    let again = world.post("/kv/rollback?db=d&to_timestamp=1015&confirm=yes", "").json();
    assert_eq!((&again["rolled_back"], &again["deleted"], &again["restored"]), (&0.into(), &0.into(), &0.into()));
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn a_table_rollback_takes_only_the_keys_that_are_named() {
    let world = changed();
    let roll = |body: &str| world.post("/kv/rollback?db=d&to_timestamp=1015&confirm=yes", body).json();
    let done = roll(r#"{"keys": ["a", "new", "sql", "none"], "exclude_keys": ["a"]}"#);
    assert_eq!(
        (&done["rolled_back"], &done["deleted"], &done["untouched_keys"]),
        (&0.into(), &1.into(), &json!(["none", "sql"]))
    );
    assert_eq!(roll(r#"{"keys": []}"#)["rolled_back"], 0);
    assert_eq!(value(&world, "a"), "3");
    assert_eq!(roll(r#"{"exclude_keys": ["gone"]}"#)["rolled_back"], 1);
    assert_eq!(world.get("/kv/gone?db=d").status, 404);
}

#[test]
fn a_table_rollback_is_all_or_nothing() {
    let world = changed();
    let roll = |query: &str, body: &str| world.post(&format!("/kv/rollback?db=d&{query}"), body);
    for query in ["to_timestamp=1015", "to_timestamp=1015&confirm=no", "confirm=yes", "to_timestamp=0&confirm=yes"] {
        assert_eq!(roll(query, "").failure(), (400, "INVALID_PARAMETERS".to_owned()), "{query}");
    }
    for body in ["[1]", "{", r#"{"keys": "a"}"#, r#"{"keys": [1]}"#] {
        let refused = roll("to_timestamp=1015&confirm=yes", body).json();
        assert_eq!(refused["error"], "Invalid JSON body", "{body}");
    }
    let many = json!({"keys": vec!["k"; 10_001]}).to_string();
    assert_eq!(roll("to_timestamp=1015&confirm=yes", &many).failure(), (413, "PAYLOAD_TOO_LARGE".to_owned()));
    world.put("/kv/z?db=d&history=false", "1");
    put(&world, "z", "2");
    date(&world);
    for query in ["confirm=yes", "dry_run=true"] {
        let gap = roll(&format!("to_timestamp=1015&{query}"), "");
        assert_eq!(gap.failure(), (409, "TIME_TRAVEL_CHAIN_GAP".to_owned()));
        assert_eq!(gap.json()["error"], "TIME_TRAVEL_CHAIN_GAP");
    }
    assert_eq!(value(&world, "a"), "3");
}

#[test]
fn what_is_too_much_is_refused() {
    let world = world();
    world.sqlite(
        "d",
        "WITH RECURSIVE n(i) AS (SELECT 4 UNION ALL SELECT i + 1 FROM n WHERE i < 50001)
         INSERT INTO kv_store_history(key, op_number, op, ts, new_value, new_content_type) SELECT 'a', i, 'SET', 1100, x'31', 'x' FROM n;",
    );
    assert_eq!(world.get("/kv/a?db=d&at_timestamp=1015").failure(), (413, "PAYLOAD_TOO_LARGE".to_owned()));
    assert_eq!(world.get("/kv?db=d&at_timestamp=1015").failure(), (413, "PAYLOAD_TOO_LARGE".to_owned()));
    world.sqlite(
        "d",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100001)
         INSERT INTO kv_store(key, value) SELECT 'k' || i, x'31' FROM n;",
    );
    let whole = world.post("/kv/rollback?db=d&to_timestamp=1015&confirm=yes", "");
    assert_eq!(whole.failure(), (413, "PAYLOAD_TOO_LARGE".to_owned()));
    let small = World::with(|settings| settings.max_response_bytes = 1000);
    let made = small.put("/kv/a?db=d&create_db_if_missing=true", &format!("\"{}\"", "x".repeat(2000)));
    assert_eq!(made.status, 200);
    let large = small.get("/kv/a/history?db=d");
    assert_eq!((large.status, small.get("/kv/snapshot?db=d&timestamp=5").status), (413, 200));
}

#[test]
fn reading_makes_nothing() {
    let world = World::new();
    world.sqlite("d", "CREATE TABLE other(x)");
    for target in
        ["/kv/a/history?db=d", "/kv/snapshot?db=d&timestamp=5", "/kv/diff?db=d&from=5&to=6", "/kv?db=d&at_timestamp=5"]
    {
        assert_eq!(world.get(target).status, 200, "{target}");
    }
    assert_eq!(world.post("/kv/rollback?db=d&to_timestamp=5&dry_run=true", "").status, 200);
    assert_eq!(world.post("/kv/a/rollback?db=d", "").failure(), (404, "HISTORY_ENTRY_NOT_FOUND".to_owned()));
    assert_eq!(count(&world, "SELECT count(*) FROM sqlite_schema"), 1);
}
