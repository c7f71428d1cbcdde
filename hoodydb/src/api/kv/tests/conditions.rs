use super::*;

#[test]
fn every_write_changes_the_tag() {
    let world = world();
    let mut tags = vec![put(&world, "a", "", "1")["etag"].as_str().unwrap().to_owned()];
    put(&world, "a", "", "1");
    tags.push(etag(&world, "a"));
    post(&world, "/a/expire", "&ttl=600", "");
    tags.push(etag(&world, "a"));
    native(&world).execute("UPDATE kv_store SET value = 'x'", []).unwrap();
    tags.push(etag(&world, "a"));
    ask(&world, "DELETE", "/a", "", &[], "");
    tags.push(put(&world, "a", "&history=false", "1")["etag"].as_str().unwrap().to_owned());
    assert_eq!(tags[4], etag(&world, "a"));
    let last = tags[4].clone();
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 5);
    post(&world, "/a/expire", "&ttl=600", "");
    let one = etag(&world, "a");
    post(&world, "/a/expire", "&ttl=600", "");
    assert!(one != last && one != etag(&world, "a"));
}

#[test]
fn a_reader_that_has_it_is_told_so() {
    let world = world();
    put(&world, "a", "", "{\"x\":1}");
    let tag = etag(&world, "a");
    for (method, target) in [("GET", "/a"), ("HEAD", "/a"), ("GET", "/a/entry")] {
        for known in [tag.clone(), format!("W/{tag}, \"x\""), "*".to_owned()] {
            let reply = ask(&world, method, target, "", &[("if-none-match", &known)], "");
            assert_eq!((reply.status, reply.bytes(), reply.header("etag")), (304, &b""[..], Some(tag.as_str())));
        }
        assert_eq!(ask(&world, method, target, "", &[("if-none-match", "\"x\"")], "").status, 200);
        assert_eq!(ask(&world, method, target, "", &[("if-none-match", "x")], "").status, 400);
    }
    assert_eq!(ask(&world, "GET", "/none", "", &[("if-none-match", "*")], "").status, 404);
    assert_eq!(ask(&world, "GET", "/a", "&at_timestamp=5", &[("if-none-match", "*")], "").status, 400);
}

#[test]
fn a_write_that_expects_another_tag_is_not_done() {
    let world = world();
    put(&world, "a", "&ttl=600", "[1]");
    let tag = etag(&world, "a");
    let writes = [
        ("PUT", "/a", ""),
        ("DELETE", "/a", ""),
        ("POST", "/a/incr", ""),
        ("POST", "/a/decr", ""),
        ("POST", "/a/push", ""),
        ("POST", "/a/pop", ""),
        ("POST", "/a/remove", "&index=0"),
        ("POST", "/a/expire", "&ttl=5"),
        ("POST", "/a/persist", ""),
    ];
    for (method, target, query) in writes {
        for other in ["\"x\"".to_owned(), format!("W/{tag}")] {
            let reply = ask(&world, method, target, query, &[("if-match", &other)], "1");
            assert_eq!(reply.failure(), failure(412, "PRECONDITION_FAILED"), "{method} {target}");
            assert_eq!(reply.json()["current_etag"], tag.as_str());
        }
        let missing = target.replace("/a", "/none");
        let reply = ask(&world, method, &missing, query, &[("if-match", "*")], "1");
        assert_eq!((reply.status, &reply.json()["current_etag"]), (412, &Value::Null), "{method} {target}");
        assert_eq!(ask(&world, method, target, query, &[("if-match", "x")], "1").status, 400);
    }
    assert_eq!(etag(&world, "a"), tag);
    assert_eq!(ask(&world, "POST", "/a/pop", "", &[("if-match", &format!("\"x\", {tag}"))], "").status, 200);
    assert_eq!(ask(&world, "DELETE", "/a", "", &[("if-match", "*")], "").status, 200);
}

#[test]
fn a_key_may_be_demanded_not_to_exist() {
    let world = world();
    let new = |star| ask(&world, "PUT", "/a", "", &[("if-none-match", star)], "1");
    assert_eq!(new("\"x\"").failure(), failure(400, "INVALID_PARAMETERS"));
    assert_eq!(new("*").status, 200);
    assert_eq!(new("*").json()["current_etag"], etag(&world, "a").as_str());
    end(&world, "a");
    assert_eq!(new("*").status, 200);
}

#[test]
fn a_value_is_swapped_if_it_is_the_expected_one() {
    let world = world();
    let cas = |expected: &str, body: &str| ask(&world, "PUT", "/cfg", &format!("&if_match={expected}"), &[], body);
    let missing = cas("x", "1");
    assert_eq!((missing.status, &missing.json()["error"]), (412, &json!("Key does not exist for CAS")));
    put(&world, "cfg", "", "{\"v\":1}");
    assert_eq!(cas("%7B%22v%22%3A1%7D", "{\"v\":2}").status, 200);
    let stale = cas("stale", "9");
    assert_eq!(stale.json(), json!({"error": "Value mismatch for CAS", "code": "PRECONDITION_FAILED"}));
    assert_eq!(cas("", "9").status, 412);
    assert_eq!(get(&world, "cfg"), "{\"v\":2}");
    assert_eq!(cas("%7B%22v%22%3A2%7D&path=w", "3").status, 200);
    let both = ask(&world, "PUT", "/cfg", "&if_match=x", &[("if-match", &etag(&world, "cfg"))], "1");
    assert_eq!(both.json()["error"], "Value mismatch for CAS");
    ask(&world, "PUT", "/cfg", "", &[], "");
    assert_eq!(cas("", "9").status, 200);
}
