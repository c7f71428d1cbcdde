use super::*;

#[test]
fn a_counter_counts_from_nothing() {
    let world = world();
    has(&post(&world, "/hits/incr", "&delta=1", "").json(), &json!({"success": true, "key": "hits", "value": 1}));
    has(&post(&world, "/hits/incr", "&delta=10", "").json(), &json!({"value": 11}));
    let reply = post(&world, "/hits/decr", "&delta=3", "");
    has(&reply.json(), &json!({"value": 8}));
    assert_eq!(reply.json()["etag"].as_str(), reply.header("etag"));
    let got = ask(&world, "GET", "/hits", "", &[], "");
    assert_eq!((got.text(), got.header("content-type")), ("8", Some("text/plain")));
    for delta in ["0", "-1", "x", "1.5", "9223372036854775808", ""] {
        let reply = post(&world, "/hits/incr", &format!("&delta={delta}"), "");
        assert_eq!(reply.json()["error"], "delta must be a positive integer", "{delta}");
    }
    assert_eq!(operations(&world, "hits"), ["1 INCR  1 - 1", "2 INCR  10 1 11", "3 DECR  -3 11 8"]);
}

#[test]
fn what_reads_as_an_integer_counts() {
    let world = world();
    put(&world, "a", "&ttl=600", " -7\n");
    has(&post(&world, "/a/incr", "", "").json(), &json!({"value": -6}));
    let entry = ask(&world, "GET", "/a/entry", "", &[], "").json();
    assert!(entry["content_type"] == "application/json" && entry["expire_at"].is_i64(), "{entry}");
    for other in ["1.0", "1e2", "\"5\"", "9223372036854775808"] {
        put(&world, "a", "", other);
        assert_eq!(post(&world, "/a/incr", "", "").failure(), failure(400, "INVALID_PARAMETERS"), "{other}");
    }
    put(&world, "a", "", "9223372036854775807");
    assert_eq!(post(&world, "/a/incr", "", "").failure(), failure(400, "INVALID_PARAMETERS"));
    put(&world, "a", "", "-9223372036854775807");
    assert_eq!(post(&world, "/a/decr", "&delta=9223372036854775807", "").status, 400);
    has(&post(&world, "/a/decr", "", "").json(), &json!({"value": i64::MIN}));
}

#[test]
fn a_counter_lives_within_a_document() {
    let world = world();
    has(&post(&world, "/d/incr", "&path=a.n", "").json(), &json!({"value": 1, "path": "a.n"}));
    has(&post(&world, "/d/decr", "&path=a.n&delta=4", "").json(), &json!({"value": -3}));
    assert_eq!(get(&world, "d"), "{\"a\":{\"n\":-3}}");
    assert_eq!(ask(&world, "GET", "/d", "", &[], "").header("content-type"), Some("application/json"));
    assert_eq!(operations(&world, "d")[1], "2 DECR a.n -4 {\"a\":{\"n\":1}} {\"a\":{\"n\":-3}}");
    put(&world, "d", "", "{\"f\":1.0,\"s\":\"1\",\"o\":{}}");
    for path in ["f", "s", "o", "f.x"] {
        assert_eq!(post(&world, "/d/incr", &format!("&path={path}"), "").status, 400, "{path}");
    }
    has(&post(&world, "/w/incr", "&path=$", "").json(), &json!({"value": 1}));
    assert_eq!(get(&world, "w"), "1");
}
