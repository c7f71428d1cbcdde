//! The rules of keys, asked for as clients ask.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::super::testing::{Reply, World};

mod arrays;
mod batches;
mod conditions;
mod counters;
mod history;
mod keys;
mod lists;
mod native;
mod once;
mod paths;
mod ttl;

/// A root with an empty database `k`.
fn world() -> World {
    let world = World::new();
    world.sqlite("k", super::super::history::SCHEMA);
    world
}

/// Asks for a key of `k`; `target` is what follows `/kv`, and `query` what follows the database.
fn ask(world: &World, method: &str, target: &str, query: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    world.send(method, &format!("/kv{target}?db=k{query}"), headers, body)
}

/// Puts JSON.
#[track_caller]
fn put(world: &World, key: &str, query: &str, body: &str) -> Value {
    let reply = ask(world, "PUT", &format!("/{key}"), query, &[("content-type", "application/json")], body);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

/// Gets text.
#[track_caller]
fn get(world: &World, key: &str) -> String {
    let reply = ask(world, "GET", &format!("/{key}"), "", &[], "");
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.text().to_owned()
}

/// Posts JSON.
fn post(world: &World, target: &str, query: &str, body: &str) -> Reply {
    ask(world, "POST", target, query, &[("content-type", "application/json")], body)
}

fn etag(world: &World, key: &str) -> String {
    ask(world, "GET", &format!("/{key}"), "", &[], "").header("etag").unwrap().to_owned()
}

fn failure(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// A connection of a native program.
fn native(world: &World) -> Connection {
    world.sqlite("k", "")
}

/// The history of a key: operation, path, delta, old and new value.
fn operations(world: &World, key: &str) -> Vec<String> {
    let connection = native(world);
    let mut query = connection
        .prepare(
            "SELECT op_number || ' ' || op || ' ' || path || ' ' || coalesce(delta, '') || ' ' || \
             coalesce(CAST(old_value AS TEXT), '-') || ' ' || coalesce(CAST(new_value AS TEXT), '-') \
             FROM kv_store_history WHERE key = ?1 ORDER BY op_number",
        )
        .unwrap();
    query.query_map([key], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Lets the time of a key be over.
fn end(world: &World, key: &str) {
    native(world).execute("UPDATE kv_store SET expire_at = 1000 WHERE key = ?1", [key]).unwrap();
}

#[track_caller]
fn has(value: &Value, part: &Value) {
    for (name, expected) in part.as_object().unwrap() {
        assert_eq!(&value[name], expected, "{name} of {value}");
    }
}

#[test]
fn a_request_without_sense_is_told_before_anything_runs() {
    let world = World::new();
    let code = |method, target: &str| world.send(method, target, &[], "").failure().1;
    assert_eq!(code("GET", "/kv/a"), "INVALID_PARAMETERS");
    assert_eq!(code("GET", "/kv/a?db=x&table=a-b"), "INVALID_PARAMETERS");
    assert_eq!(code("GET", "/kv/%20?db=x"), "INVALID_PARAMETERS");
    assert_eq!(code("GET", "/kv/a%00?db=x"), "INVALID_PARAMETERS");
    assert_eq!(code("GET", &format!("/kv/{}?db=x", "a".repeat(2049))), "INVALID_PARAMETERS");
    assert_eq!(code("PUT", "/kv/a?db=x&history=maybe"), "INVALID_PARAMETERS");
    assert_eq!(code("GET", "/kv/a?db=x"), "DATABASE_NOT_FOUND");
    assert_eq!(code("PUT", "/kv/a?db=x"), "DATABASE_NOT_FOUND");
    has(&world.put("/kv/a?db=sub&create_db_if_missing=true", "1").json(), &json!({"success": true, "size": 1}));
    assert_eq!(world.get("/kv/a?db=sub").text(), "1");
}
