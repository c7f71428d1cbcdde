use super::*;

#[test]
fn many_keys_are_set_read_and_deleted() {
    let world = world();
    let items = "{\"items\":[{\"key\":\"u1\",\"value\":\"{\\\"n\\\":\\\"a\\\"}\",\"content_type\":\"application/json\",\"ttl\":60},\
                 {\"key\":\"u2\",\"value\":\"raw\"},{\"key\":\"u4\"}]}";
    let set = post(&world, "/batch/set", "", items).json();
    has(&set, &json!({"success": true, "count": 3}));
    assert_eq!((&set["items"][1]["key"], &set["items"][1]["etag"]), (&json!("u2"), &json!(etag(&world, "u2"))));
    let got = post(&world, "/batch/get", "", "{\"keys\":[\"u2\",\"u1\",\"u3\",\"u1\"]}");
    assert!(got.text().starts_with(
        "{\"success\":true,\"results\":{\"u2\":{\"value_base64\":\"cmF3\",\"content_type\":\"application/octet-stream\""
    ));
    has(
        &got.json()["results"]["u1"],
        &json!({"value": {"n": "a"}, "content_type": "application/json", "etag": etag(&world, "u1")}),
    );
    assert_eq!(got.json()["results"]["u3"], Value::Null);
    assert!(ask(&world, "GET", "/u1", "", &[], "").header("x-expire-at").is_some());
    assert_eq!(get(&world, "u4"), "");
    assert_eq!(
        post(&world, "/batch/delete", "", "{\"keys\":[\"u1\",\"u3\",\"u1\"]}").json(),
        json!({"success": true, "deleted": 1})
    );
    assert_eq!(operations(&world, "u1").len(), 2);
}

#[test]
fn of_a_key_that_comes_twice_the_last_counts() {
    let world = world();
    let set =
        post(&world, "/batch/set", "", "{\"items\":[{\"key\":\"a\",\"value\":\"1\"},{\"key\":\"a\",\"value\":\"2\"}]}")
            .json();
    assert_eq!(set["count"], 2);
    assert_eq!(
        (&set["items"][0]["etag"], &set["items"][1]["etag"]),
        (&json!(etag(&world, "a")), &json!(etag(&world, "a")))
    );
    assert_eq!(get(&world, "a"), "2");
}

#[test]
fn one_condition_that_fails_stops_all() {
    let world = world();
    put(&world, "a", "", "1");
    let tag = etag(&world, "a");
    let set = |condition: Value| {
        let items =
            json!({"items": [{"key": "b", "value": "1"}, {"key": "a", "value": "2", "if_match": tag}, condition]});
        post(&world, "/batch/set", "", &items.to_string())
    };
    let reply = set(json!({"key": "c", "if_match": "*"}));
    assert_eq!(reply.failure(), failure(412, "PRECONDITION_FAILED"));
    assert_eq!(reply.json()["failed"], json!([{"key": "c", "current_etag": null}]));
    let reply = set(json!({"key": "a", "if_none_match": "*"}));
    assert_eq!(reply.json()["failed"], json!([{"key": "a", "current_etag": tag}]));
    assert_eq!(set(json!({"key": "c", "if_none_match": "x"})).failure(), failure(400, "INVALID_PARAMETERS"));
    assert_eq!(set(json!({"key": "c", "if_match": "x"})).failure(), failure(400, "INVALID_PARAMETERS"));
    assert_eq!(ask(&world, "GET", "/b", "", &[], "").status, 404);
    let delete = json!({"items": [{"key": "a", "if_match": tag}, {"key": "b", "if_match": "*"}]}).to_string();
    assert_eq!(
        post(&world, "/batch/delete", "", &delete).json()["failed"],
        json!([{"key": "b", "current_etag": null}])
    );
    assert_eq!(set(json!({"key": "c", "if_none_match": "*"})).status, 200);
    assert_eq!(get(&world, "a"), "2");
}

#[test]
fn a_batch_without_sense_is_refused() {
    let world = world();
    let many = json!({"keys": vec!["a"; 101]}).to_string();
    let bodies = [
        "",
        "{",
        "[]",
        "{}",
        "{\"keys\":[]}",
        "{\"keys\":[\" \"]}",
        "{\"keys\":[\"\"]}",
        "{\"keys\":[1]}",
        many.as_str(),
    ];
    for body in bodies {
        for batch in ["get", "delete"] {
            let reply = post(&world, &format!("/batch/{batch}"), "", body);
            assert_eq!(reply.failure(), failure(400, "INVALID_PARAMETERS"), "{batch} {body}");
        }
    }
    let set = |item: &str| post(&world, "/batch/set", "", &format!("{{\"items\":[{item}]}}"));
    for value in ["{}", "1", "null"] {
        assert_eq!(
            set(&format!("{{\"key\":\"a\",\"value\":{value}}}")).json()["error"],
            "Invalid JSON body",
            "{value}"
        );
    }
    assert_eq!(set("{\"key\":\"a\",\"ttl\":-1}").status, 400);
    assert_eq!(post(&world, "/batch/delete", "", "{\"keys\":[\"a\"],\"items\":[]}").status, 400);
    for batch in ["get", "set", "delete"] {
        let reply = ask(&world, "POST", &format!("/batch/{batch}"), "", &[("if-match", "*")], "{\"keys\":[\"a\"]}");
        assert_eq!(reply.status, 400, "{batch}");
    }
}
