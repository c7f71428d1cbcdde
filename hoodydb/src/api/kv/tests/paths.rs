use super::*;

#[test]
fn a_part_is_read_and_written() {
    let world = world();
    put(
        &world,
        "p",
        "",
        "{\"name\":\"Ada\",\"prefs\":{\"theme\":\"dark\",\"lang\":\"en\"},\"n\":12345678901234567890}",
    );
    let part = ask(&world, "GET", "/p", "&path=prefs.theme", &[], "");
    assert_eq!((part.text(), part.header("x-json-path")), ("\"dark\"", Some("prefs.theme")));
    let stored = put(&world, "p", "&path=.prefs.theme", "\"light\"");
    has(&stored, &json!({"path": ".prefs.theme", "size": get(&world, "p").len()}));
    assert_eq!(
        get(&world, "p"),
        "{\"n\":12345678901234567890,\"name\":\"Ada\",\"prefs\":{\"lang\":\"en\",\"theme\":\"light\"}}"
    );
    assert_eq!(ask(&world, "GET", "/p", "&path=$", &[], "").text(), get(&world, "p"));
    assert_eq!(ask(&world, "GET", "/p", "&path=", &[], "").header("x-json-path"), None);
    for path in ["prefs.none", "name.x", "prefs[0]"] {
        assert_eq!(ask(&world, "GET", "/p", &format!("&path={path}"), &[], "").failure(), failure(404, "NOT_FOUND"));
    }
    assert_eq!(ask(&world, "GET", "/p", "&path=a..b", &[], "").failure(), failure(400, "INVALID_PARAMETERS"));
    assert_eq!(ask(&world, "GET", "/none", "&path=a", &[], "").failure(), failure(404, "KEY_NOT_FOUND"));
}

#[test]
fn a_part_of_what_is_missing_is_made() {
    let world = world();
    put(&world, "new", "&path=a.b[0]", "1");
    assert_eq!(get(&world, "new"), "{\"a\":{\"b\":[1]}}");
    put(&world, "new", "&path=a.b[1]", "2");
    put(&world, "new", "&path=a.c.d", "null");
    assert_eq!(get(&world, "new"), "{\"a\":{\"b\":[1,2],\"c\":{\"d\":null}}}");
    assert_eq!(ask(&world, "GET", "/new", "", &[], "").header("content-type"), Some("application/json"));
    for path in ["a.b[3]", "a.b[0].x", "[0]"] {
        let reply = ask(&world, "PUT", "/new", &format!("&path={path}"), &[], "1");
        assert_eq!(reply.failure(), failure(400, "INVALID_PARAMETERS"), "{path}");
    }
}

#[test]
fn a_part_must_be_json_and_so_must_the_whole() {
    let world = world();
    let plain = [("content-type", "text/plain")];
    assert_eq!(ask(&world, "PUT", "/a", "&path=x", &plain, "hello").failure(), failure(400, "INVALID_JSON_VALUE"));
    ask(&world, "PUT", "/a", "", &plain, "hello");
    for (method, target) in [("GET", "/a"), ("PUT", "/a"), ("POST", "/a/incr"), ("POST", "/a/push"), ("POST", "/a/pop")]
    {
        assert_eq!(
            ask(&world, method, target, "&path=x", &[], "1").failure(),
            failure(400, "INVALID_PARAMETERS"),
            "{target}"
        );
    }
    ask(&world, "PUT", "/a", "", &plain, "{\"x\":1}");
    ask(&world, "PUT", "/a", "&path=x", &plain, "2");
    let got = ask(&world, "GET", "/a", "", &[], "");
    assert_eq!((got.text(), got.header("content-type")), ("{\"x\":2}", Some("text/plain")));
}
