use std::time::Instant;

use serde_json::{Value, json};

use super::super::Body;
use super::super::testing::World;
use super::Stream;

/// A database `d` with an empty store.
fn world() -> World {
    let world = World::new();
    world.sqlite("d", "CREATE TABLE other(x)");
    put(&world, "first", "0");
    world
}

fn put(world: &World, key: &str, value: &str) {
    assert_eq!(world.put(&format!("/kv/{key}?db=d"), value).status, 200);
}

fn cursor(world: &World) -> String {
    text(&world.get("/changes?db=d").json()["cursor"]).to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// Keys and operations of a page.
fn told(page: &Value) -> Vec<(&str, &str)> {
    page["events"].as_array().unwrap().iter().map(|event| (text(&event["key"]), text(&event["op"]))).collect()
}

fn since(world: &World, cursor: &str, more: &str) -> Value {
    let reply = world.get(&format!("/changes?db=d&since={cursor}{more}"));
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

#[test]
fn every_kind_of_change_is_told() {
    let world = world();
    let from = cursor(&world);
    put(&world, "a", "1");
    assert_eq!(world.post("/kv/a/expire?db=d&ttl=600", "").status, 200);
    world.delete("/kv/a?db=d");
    let native =
        "INSERT INTO kv_store(key, value, expire_at) VALUES ('n', 'x', 5); DELETE FROM kv_store WHERE key = 'n';";
    world.sqlite("d", native);
    let page = since(&world, &from, "");
    assert_eq!(told(&page), [("a", "set"), ("a", "ttl"), ("a", "delete"), ("n", "set"), ("n", "expire")]);
    let events = &page["events"];
    assert!(
        events[0]["expire_at"].is_null() && events[1]["expire_at"].is_i64() && events[2]["expire_at"].is_null(),
        "{events}"
    );
    assert!(events[2].get("etag").is_none() && events[4].get("etag").is_none());
    assert_eq!((&events[0]["table"], &page["has_more"]), (&"kv_store".into(), &false.into()));
    assert_eq!(events[4]["cursor"], page["next_cursor"]);
    assert_eq!(page["cursor"], page["next_cursor"]);
    put(&world, "a", "2");
    let event = since(&world, text(&page["next_cursor"]), "")["events"][0].clone();
    assert_eq!(Some(text(&event["etag"])), world.get("/kv/a?db=d").header("ETag"));
    assert!(told(&since(&world, text(&event["cursor"]), "")).is_empty());
    assert_eq!(told(&world.get("/changes?db=d").json()), []);
}

#[test]
fn pages_go_on_where_the_last_one_ended() {
    let world = world();
    let from = cursor(&world);
    for key in ["a1", "b1", "a2", "b2"] {
        put(&world, key, "1");
    }
    let first = since(&world, &from, "&limit=1&prefix=a");
    assert_eq!((told(&first).as_slice(), &first["has_more"]), ([("a1", "set")].as_slice(), &true.into()));
    let second = since(&world, text(&first["next_cursor"]), "&limit=1&prefix=a");
    assert_eq!((told(&second).as_slice(), &second["has_more"]), ([("a2", "set")].as_slice(), &false.into()));
    assert_eq!(second["next_cursor"], second["cursor"]);
    assert_eq!(world.get(&format!("/changes?db=d&since={from}&table=other_store")).status, 410);
    for query in ["limit=0", "wait=-1", "since=C9", "include_values=x", "table=sqlite_x"] {
        assert_eq!(
            world.get(&format!("/changes?db=d&{query}")).failure(),
            (400, "INVALID_PARAMETERS".to_owned()),
            "{query}"
        );
    }
    assert_eq!(world.get("/changes?db=none").failure(), (400, "DATABASE_NOT_FOUND".to_owned()));
}

#[test]
fn values_are_told_while_they_are_current() {
    let world = world();
    let from = cursor(&world);
    put(&world, "old", "1");
    put(&world, "old", "{\"n\":12345678901234567890123}");
    world.send("PUT", "/kv/text?db=d", &[("Content-Type", "text/plain")], "x");
    put(&world, "large", &format!("\"{}\"", "x".repeat(256 << 10)));
    world.sqlite("d", "INSERT INTO kv_store(key, value, expire_at) VALUES ('over', 'x', 5)");
    put(&world, "gone", "1");
    world.delete("/kv/gone?db=d");
    let reply = world.get(&format!("/changes?db=d&since={from}&include_values=true"));
    assert!(reply.text().contains("\"value\":{\"n\":12345678901234567890123}"), "{}", reply.text());
    let page = reply.json();
    let events = page["events"].as_array().unwrap();
    let of = |at: usize, name: &str| events[at].get(name).cloned().unwrap_or_default();
    assert_eq!((of(0, "value_omitted"), of(0, "content_type")), ("superseded".into(), Value::Null));
    assert_eq!(of(1, "content_type"), "application/json");
    assert_eq!((of(2, "value_base64"), of(2, "content_type")), ("eA==".into(), "text/plain".into()));
    assert_eq!((of(3, "value_omitted"), of(4, "value_omitted")), ("too_large".into(), "expired".into()));
    assert_eq!((of(5, "value_omitted"), of(6, "value_omitted")), ("superseded".into(), Value::Null));
}

#[test]
fn a_cursor_that_is_of_no_use_is_refused_with_the_reason() {
    let world = world();
    let from = cursor(&world);
    let reason = |cursor: &str| {
        let reply = world.get(&format!("/changes?db=d&since={cursor}"));
        assert_eq!(reply.status, 410, "{reply:?}");
        (text(&reply.json()["code"]).to_owned(), text(&reply.json()["reason"]).to_owned())
    };
    let invalid = |reason: &str| ("CHANGE_CURSOR_INVALID".to_owned(), reason.to_owned());
    put(&world, "a", "1");
    put(&world, "b", "1");
    let later = cursor(&world);
    world.sqlite("d", "UPDATE \"hoody:kv_meta\" SET oldest = 3");
    assert_eq!(reason(&from), ("CHANGE_CURSOR_EXPIRED".to_owned(), "cursor_expired".to_owned()));
    assert_eq!(told(&since(&world, &later, "")), []);
    world.sqlite("d", "UPDATE sqlite_sequence SET seq = 2 WHERE name = 'hoody:kv_changes'; DELETE FROM \"hoody:kv_changes\" WHERE seq > 2");
    assert_eq!(reason(&later), invalid("future_cursor"));
    world.sqlite("d", "DROP TABLE kv_store");
    assert_eq!(reason(&later), invalid("table_changed"));
    put(&world, "a", "1");
    assert_eq!(reason(&later), invalid("table_changed"));
    world.sqlite("d", "UPDATE \"hoody:kv_meta\" SET epoch = 'other'");
    assert_eq!(reason(&later), invalid("database_replaced"));
}

#[test]
fn one_may_follow_before_there_is_a_table() {
    let world = World::new();
    world.sqlite("d", "CREATE TABLE other(x)");
    let from = cursor(&world);
    let list = world.get("/kv?db=d").json();
    assert_eq!(list["change_cursor"], from.as_str());
    assert_eq!(told(&since(&world, &from, "")), []);
    put(&world, "a", "1");
    assert_eq!(told(&since(&world, &from, "")), [("a", "set")]);
}

#[test]
fn a_wait_ends_with_the_next_change_whoever_makes_it() {
    let world = world();
    for native in [false, true] {
        let from = cursor(&world);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| since(&world, &from, "&wait=30&prefix=w"));
            put(&world, "other", "1");
            if native {
                world.sqlite("d", "UPDATE kv_store SET value = 'n' WHERE key = 'other'; INSERT INTO kv_store(key, value) VALUES ('wn', 1)");
            } else {
                put(&world, "w1", "1");
            }
            let page = waits.join().unwrap();
            assert_eq!(told(&page), [(if native { "wn" } else { "w1" }, "set")]);
        });
    }
}

#[test]
fn a_wait_ends_empty_when_its_time_is_over() {
    let world = world();
    let from = cursor(&world);
    put(&world, "other", "1");
    let page = since(&world, &from, "&wait=1&prefix=w");
    assert_eq!((told(&page).as_slice(), &page["next_cursor"]), ([].as_slice(), &page["cursor"]));
    assert_ne!(page["next_cursor"], from.as_str());
    // Without a cursor there is nothing to wait for; with a bad one neither.
    assert_eq!(world.get("/changes?db=d&wait=60").status, 200);
    world.sqlite("d", "UPDATE \"hoody:kv_meta\" SET epoch = 'other'");
    assert_eq!(world.get(&format!("/changes?db=d&since={from}&wait=60")).status, 410);
    assert_eq!(
        world.get(&format!("/changes?db=none&since={from}&wait=60")).failure(),
        (400, "DATABASE_NOT_FOUND".to_owned())
    );
}

fn open(world: &World, query: &str, headers: &[(&str, &str)]) -> Stream {
    let reply = world.send("GET", &format!("/changes/stream?db=d{query}"), headers, "");
    assert_eq!((reply.status, reply.header("Content-Type")), (200, Some("text/event-stream")));
    match reply.body {
        Body::Events(stream) => stream,
        Body::Whole(_) => panic!("no stream: {reply:?}"),
    }
}

/// The next event of a stream: its name and its data. None after the last.
fn next(stream: &mut Stream) -> Option<(String, Value)> {
    let text = String::from_utf8(stream.wait()?.to_vec()).unwrap();
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    assert!(text.ends_with("\n\n"), "{text}");
    let Some(event) = field("event: ") else {
        assert_eq!(text, "retry: 1000\n\n");
        return next(stream);
    };
    assert!(field("id: ").is_some(), "{text}");
    Some((event, serde_json::from_str(&field("data: ").unwrap()).unwrap()))
}

fn expect(stream: &mut Stream, event: &str, data: Value) {
    assert_eq!(next(stream), Some((event.to_owned(), data)));
}

/// The next change's key.
fn change(stream: &mut Stream) -> String {
    let (event, data) = next(stream).unwrap();
    assert_eq!(event, "change", "{data}");
    text(&data["key"]).to_owned()
}

fn ready(stream: &mut Stream) -> Value {
    let (event, data) = next(stream).unwrap();
    assert_eq!(event, "ready");
    data
}

#[test]
fn a_stream_tells_what_comes_from_whoever_it_comes() {
    let world = world();
    let mut stream = open(&world, "", &[]);
    assert_eq!(text(&ready(&mut stream)["cursor"]), cursor(&world));
    put(&world, "a", "1");
    assert_eq!(change(&mut stream), "a");
    world.sqlite("d", "INSERT INTO kv_store(key, value) VALUES ('native', 1)");
    assert_eq!(change(&mut stream), "native");
    world.delete("/kv/a?db=d");
    let (_, event) = next(&mut stream).unwrap();
    let page = since(&world, text(&event["cursor"]), "");
    assert_eq!((text(&event["op"]), told(&page).len()), ("delete", 0));
}

#[test]
fn a_stream_begins_where_its_client_was() {
    let world = world();
    let from = cursor(&world);
    put(&world, "a", "1");
    let between = cursor(&world);
    put(&world, "b", "1");
    let mut stream = open(&world, &format!("&since={from}"), &[("Last-Event-ID", &between)]);
    ready(&mut stream);
    assert_eq!(change(&mut stream), "b");
    let mut stream = open(&world, &format!("&since={from}&include_values=true&prefix=b"), &[]);
    ready(&mut stream);
    let (_, event) = next(&mut stream).unwrap();
    assert_eq!((text(&event["key"]), &event["value"]), ("b", &1.into()));
    put(&world, "b", "[\n2\r\n]");
    assert_eq!(next(&mut stream).unwrap().1["value"], json!([2]));
    assert_eq!(world.get("/changes/stream?db=d&since=x").failure(), (400, "INVALID_PARAMETERS".to_owned()));
    world.sqlite("d", "UPDATE \"hoody:kv_meta\" SET epoch = 'other'");
    let refused = world.get(&format!("/changes/stream?db=d&since={from}"));
    assert_eq!(refused.failure(), (410, "CHANGE_CURSOR_INVALID".to_owned()));
}

#[test]
fn a_stream_that_has_fallen_behind_misses_nothing() {
    let world = world();
    let mut slow = open(&world, "&prefix=k", &[]);
    let mut quick = open(&world, "", &[]);
    ready(&mut slow);
    ready(&mut quick);
    let fill = "WITH RECURSIVE n(i) AS (SELECT 10001 UNION ALL SELECT i + 1 FROM n WHERE i < 16000)
                INSERT INTO kv_store(key, value) SELECT 'k' || i, 1 FROM n;";
    world.sqlite("d", fill);
    let keys = |stream: &mut Stream| (0..6000).map(|_| change(stream)).collect::<Vec<_>>();
    let quick = keys(&mut quick);
    assert_eq!((quick.first().unwrap().as_str(), quick.last().unwrap().as_str()), ("k10001", "k16000"));
    assert_eq!(keys(&mut slow), quick);
}

#[test]
fn a_stream_tells_how_far_it_is() {
    let world = world();
    let mut stream = open(&world, "&prefix=none", &[]);
    ready(&mut stream);
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
                INSERT INTO kv_store(key, value) SELECT 'k' || i, 1 FROM n;";
    world.sqlite("d", fill);
    expect(&mut stream, "checkpoint", json!({"cursor": cursor(&world)}));
    put(&world, "other", "1");
    let now = cursor(&world);
    stream.checkpoint = Instant::now();
    let (event, mut data) = next(&mut stream).unwrap();
    while data["cursor"] != now.as_str() {
        // The watcher had not looked yet.
        assert_eq!(event, "checkpoint");
        stream.checkpoint = Instant::now();
        data = next(&mut stream).unwrap().1;
    }
}

#[test]
fn a_stream_ends_with_the_reason() {
    let world = world();
    let mut stream = open(&world, "", &[]);
    ready(&mut stream);
    stream.until = Instant::now();
    expect(&mut stream, "end", json!({"reason": "max_lifetime"}));
    assert_eq!(next(&mut stream), None);
    let mut reset = open(&world, "", &[]);
    ready(&mut reset);
    world.sqlite("d", "UPDATE \"hoody:kv_meta\" SET epoch = 'other'");
    expect(&mut reset, "reset", json!({"reason": "database_replaced"}));
    assert_eq!(next(&mut reset), None);
    let mut made_again = open(&world, "", &[]);
    ready(&mut made_again);
    world.sqlite("d", "DROP TABLE kv_store");
    expect(&mut made_again, "reset", json!({"reason": "table_changed"}));
    let mut deleted = open(&world, "", &[]);
    ready(&mut deleted);
    std::fs::remove_file(world.path("d")).unwrap();
    expect(&mut deleted, "end", json!({"reason": "database_deleted"}));
    assert_eq!(next(&mut deleted), None);
}

#[test]
fn the_end_of_the_server_ends_streams_and_waits() {
    let world = world();
    let mut stream = open(&world, "", &[]);
    ready(&mut stream);
    let from = cursor(&world);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| since(&world, &from, "&wait=30"));
        world.api.close();
        expect(&mut stream, "end", json!({"reason": "shutdown"}));
        assert_eq!(told(&waits.join().unwrap()), []);
    });
    assert_eq!(world.get("/changes/stream?db=d").failure(), (503, "SERVICE_UNAVAILABLE".to_owned()));
}

#[test]
fn there_are_only_so_many_streams() {
    let world = World::with(|settings| settings.max_streams = 2);
    world.sqlite("d", "CREATE TABLE other(x)");
    let one = open(&world, "", &[]);
    let two = open(&world, "", &[]);
    let third = world.get("/changes/stream?db=d");
    assert_eq!((third.failure(), third.header("Retry-After")), ((503, "SERVICE_UNAVAILABLE".to_owned()), Some("1")));
    assert_eq!(world.get("/health?verbose=true").json()["counters"]["streams_open"], 2);
    drop(one);
    ready(&mut open(&world, "", &[]));
    drop(two);
    assert_eq!(world.get("/changes/stream?db=none").status, 400);
    assert_eq!(world.get("/health?verbose=true").json()["counters"]["streams_open"], 0);
}
