use super::*;

fn send(world: &World, name: &str, method: &str, target: &str, query: &str, body: &str) -> Reply {
    ask(world, method, target, query, &[("idempotency-key", name), ("content-type", "application/json")], body)
}

#[test]
fn a_write_that_comes_again_is_answered_again_and_done_once() {
    let world = world();
    let first = send(&world, "k1", "POST", "/n/incr", "", "");
    let again = send(&world, "k1", "POST", "/n/incr", "&timeout=9", "");
    assert_eq!((again.text(), again.header("etag")), (first.text(), first.header("etag")));
    assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), (None, Some("true")));
    assert_eq!(again.header("content-type"), Some("application/json"));
    assert_eq!(get(&world, "n"), "1");
    assert_eq!(send(&world, "k2", "POST", "/n/incr", "", "").json()["value"], 2);
    for (method, target, query, body) in [
        ("POST", "/n/decr", "", ""),
        ("POST", "/m/incr", "", ""),
        ("POST", "/n/incr", "&delta=1", ""),
        ("POST", "/n/incr", "", "x"),
    ] {
        assert_eq!(send(&world, "k1", method, target, query, body).failure(), failure(422, "IDEMPOTENCY_KEY_MISMATCH"));
    }
    native(&world).execute("UPDATE \"hoody:kv_replies\" SET ts = ts - 86400", []).unwrap();
    assert_eq!(send(&world, "k1", "POST", "/n/incr", "", "").json()["value"], 3);
}

#[test]
fn what_was_refused_is_tried_again() {
    let world = world();
    assert_eq!(send(&world, "d", "DELETE", "/a", "", "").status, 404);
    put(&world, "a", "", "1");
    assert_eq!(send(&world, "d", "DELETE", "/a", "", "").status, 200);
    assert_eq!(send(&world, "d", "DELETE", "/a", "", "").header("idempotent-replayed"), Some("true"));
    for name in ["", "a b", &"a".repeat(256)] {
        assert_eq!(send(&world, name, "DELETE", "/a", "", "").failure(), failure(400, "INVALID_PARAMETERS"));
    }
}

#[test]
fn a_reply_that_is_too_large_to_keep_undoes_the_write() {
    let world = world();
    put(&world, "a", "", &format!("[\"{}\"]", "x".repeat(1 << 20)));
    assert_eq!(send(&world, "p", "POST", "/a/pop", "", "").failure(), failure(413, "IDEMPOTENT_RESPONSE_TOO_LARGE"));
    assert_eq!(get(&world, "a").len(), (1 << 20) + 4);
    assert_eq!(post(&world, "/a/pop", "", "").status, 200);
}
