use super::*;

#[test]
fn a_value_comes_back_byte_for_byte() {
    let world = world();
    let sent = "{\"name\": \"Alice\", \"email\": \"alice@example.com\"}";
    has(&put(&world, "user:1", "", sent), &json!({"success": true, "key": "user:1", "size": 47}));
    let got = ask(&world, "GET", "/user%3A1", "", &[], "");
    assert_eq!((got.text(), got.header("content-type")), (sent, Some("application/json")));
    assert!(got.header("etag").unwrap().starts_with('"') && got.header("x-expire-at").is_none());
    assert_eq!(got.header("x-created-at"), got.header("x-updated-at"));
    assert_eq!(ask(&world, "GET", "/User%3A1", "", &[], "").failure(), failure(404, "KEY_NOT_FOUND"));
    assert_eq!(ask(&world, "GET", "/user%3A1", "&table=other", &[], "").failure(), failure(404, "KEY_NOT_FOUND"));
}

#[test]
fn a_type_is_kept_and_what_curl_says_is_guessed() {
    let world = world();
    let store = |content_type: &[(&str, &str)], body: &str| {
        let stored = ask(&world, "PUT", "/a", "", content_type, body);
        if stored.status == 200 {
            ask(&world, "GET", "/a", "", &[], "").header("content-type").unwrap().to_owned()
        } else {
            stored.failure().1
        }
    };
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(store(&[], "x"), "application/octet-stream");
    assert_eq!(store(&form, " {\"a\":1} "), "application/json");
    assert_eq!(store(&form, "a=1"), "application/octet-stream");
    assert_eq!(store(&[("content-type", "text/plain; charset=utf-8")], "a"), "text/plain; charset=utf-8");
    assert_eq!(store(&[("content-type", "application/problem+json")], "a"), "INVALID_JSON_VALUE");
    assert_eq!(store(&[("content-type", "application/json")], ""), "INVALID_JSON_VALUE");
    assert_eq!(store(&[("content-type", "application/json")], "1 2"), "INVALID_JSON_VALUE");
    assert_eq!(store(&[("content-type", &"a".repeat(256))], "1"), "INVALID_PARAMETERS");
    assert_eq!(get(&world, "a"), "a");
}

#[test]
fn a_key_may_be_any_text() {
    let world = world();
    for key in ["a/b/history", "a%2Fhistory", "%C3%A9%20x", "diff"] {
        put(&world, key, "", "1");
    }
    let keys = ask(&world, "GET", "", "", &[], "").json();
    let keys: Vec<&str> = keys["items"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["a/b/history", "a/history", "diff", "é x"]);
    assert_eq!(get(&world, "%64iff"), "1");
    assert_eq!(ask(&world, "GET", "/a%2Fb/history/entry", "", &[], "").json()["key"], "a/b/history");
}

#[test]
fn the_entry_tells_everything_of_a_key() {
    let world = world();
    put(&world, "a", "", " {\"n\": 12345678901234567890} ");
    let entry = ask(&world, "GET", "/a/entry", "", &[], "");
    assert!(
        entry.text().starts_with(
            "{\"key\":\"a\",\"value\":{\"n\": 12345678901234567890},\"content_type\":\"application/json\","
        )
    );
    assert_eq!(entry.json()["etag"].as_str(), entry.header("etag"));
    assert_eq!(entry.json()["expire_at"], Value::Null);
    put(&world, "a", "", "null");
    assert_eq!(ask(&world, "GET", "/a/entry", "", &[], "").json().get("value"), Some(&Value::Null));
    ask(&world, "PUT", "/a", "", &[("content-type", "text/plain")], "raw");
    let entry = ask(&world, "GET", "/a/entry", "", &[], "").json();
    assert_eq!((entry["value_base64"].as_str(), entry.get("value")), (Some("cmF3"), None));
}

#[test]
fn head_tells_as_much_as_get_without_the_value() {
    let world = world();
    put(&world, "a", "&ttl=600", "12345");
    let (got, head) = (ask(&world, "GET", "/a", "", &[], ""), ask(&world, "HEAD", "/a", "", &[], ""));
    for name in ["etag", "x-created-at", "x-updated-at", "x-expire-at", "content-type"] {
        assert!(got.header(name).is_some() && got.header(name) == head.header(name), "{name}");
    }
    assert_eq!((head.bytes(), head.header("content-length")), (&b""[..], Some("5")));
    let code = |key: &str| ask(&world, "HEAD", key, "", &[], "").header("x-hoody-error-code").map(str::to_owned);
    assert_eq!(code("/b").as_deref(), Some("KEY_NOT_FOUND"));
    end(&world, "a");
    assert_eq!(code("/a").as_deref(), Some("KEY_EXPIRED"));
}

#[test]
fn a_key_is_deleted_once() {
    let world = world();
    put(&world, "a", "", "1");
    assert_eq!(ask(&world, "DELETE", "/a", "", &[], "").json(), json!({"success": true, "deleted": true}));
    assert_eq!(ask(&world, "DELETE", "/a", "", &[], "").failure(), failure(404, "KEY_NOT_FOUND"));
}

#[test]
fn a_rewrite_keeps_when_the_key_was_made() {
    let world = world();
    put(&world, "a", "", "1");
    native(&world).execute("UPDATE kv_store SET created_at = 5, updated_at = 6", []).unwrap();
    put(&world, "a", "", "2");
    let entry = ask(&world, "GET", "/a/entry", "", &[], "").json();
    assert!(entry["created_at"] == 5 && entry["updated_at"].as_i64() > Some(6), "{entry}");
    end(&world, "a");
    put(&world, "a", "", "3");
    let entry = ask(&world, "GET", "/a/entry", "", &[], "").json();
    assert_eq!(entry["created_at"], entry["updated_at"]);
    assert_ne!(entry["created_at"], 5);
}

#[test]
fn an_answer_that_is_too_large_is_refused() {
    let world = World::with(|settings| settings.max_response_bytes = 200);
    world.sqlite("k", super::super::super::history::SCHEMA);
    put(&world, "a", "", &format!("\"{}\"", "x".repeat(300)));
    assert_eq!(ask(&world, "GET", "/a", "", &[], "").failure(), failure(413, "RESPONSE_TOO_LARGE"));
    assert_eq!(post(&world, "/batch/get", "", "{\"keys\":[\"a\"]}").failure(), failure(413, "RESPONSE_TOO_LARGE"));
    assert_eq!(ask(&world, "HEAD", "/a", "", &[], "").status, 200);
}
