use super::*;

#[test]
fn elements_are_pushed_popped_and_removed() {
    let world = world();
    for (length, element) in [(1, "\"a\""), (2, "[\"b\"]"), (3, "3")] {
        has(&post(&world, "/q/push", "", element).json(), &json!({"success": true, "key": "q", "length": length}));
    }
    has(&post(&world, "/q/pop", "", "").json(), &json!({"value": 3, "length": 2}));
    has(&post(&world, "/q/remove", "", "{\"value\":\"a\"}").json(), &json!({"removed": "a", "length": 1}));
    let reply = post(&world, "/q/remove", "&index=0", "{\"value\":\"a\"}");
    has(&reply.json(), &json!({"removed": ["b"], "length": 0}));
    assert!(reply.json().get("value").is_none() && reply.header("etag").is_some());
    assert_eq!(post(&world, "/q/pop", "", "").failure(), failure(400, "INVALID_PARAMETERS"));
    assert_eq!(get(&world, "q"), "[]");
    assert_eq!(
        operations(&world, "q")[3..],
        [
            "4 POP   [\"a\",[\"b\"],3] [\"a\",[\"b\"]]",
            "5 REMOVE   [\"a\",[\"b\"]] [[\"b\"]]",
            "6 REMOVE   [[\"b\"]] []"
        ]
    );
}

#[test]
fn elements_are_equal_by_value() {
    let world = world();
    put(&world, "q", "", "[null, {\"a\":1,\"b\":[2]}, 1.0, \"1\"]");
    has(
        &post(&world, "/q/remove", "", "{\"value\":{\"b\":[2.0],\"a\":1e0}}").json(),
        &json!({"removed": {"a": 1, "b": [2]}}),
    );
    assert_eq!(
        post(&world, "/q/remove", "", "{\"value\":1}").text().split("\"removed\":").nth(1).unwrap()[..3],
        *"1.0"
    );
    has(&post(&world, "/q/remove", "", "{\"value\":null}").json(), &json!({"removed": null, "length": 1}));
    assert_eq!(post(&world, "/q/remove", "", "{\"value\":2}").failure(), failure(404, "NOT_FOUND"));
    for body in ["", "{}", "[1]", "x", "1"] {
        assert_eq!(post(&world, "/q/remove", "", body).failure(), failure(400, "INVALID_PARAMETERS"), "{body}");
    }
    for index in ["-1", "1", "x"] {
        assert_eq!(post(&world, "/q/remove", &format!("&index={index}"), "").status, 400, "{index}");
    }
}

#[test]
fn an_array_lives_within_a_document() {
    let world = world();
    has(&post(&world, "/d/push", "&path=a.list", "1").json(), &json!({"length": 1}));
    has(&post(&world, "/d/push", "&path=a.list[1]", "2").json(), &json!({"length": 1}));
    assert_eq!(get(&world, "d"), "{\"a\":{\"list\":[1,[2]]}}");
    has(&post(&world, "/d/pop", "&path=a.list", "").json(), &json!({"value": [2], "length": 1}));
    put(&world, "d", "", "{\"n\":1,\"list\":[]}");
    assert_eq!(post(&world, "/d/push", "&path=n", "1").failure(), failure(400, "INVALID_PARAMETERS"));
    assert_eq!(post(&world, "/d/push", "&path=list[1]", "1").status, 400);
    assert_eq!(post(&world, "/d/push", "&path=n.x", "1").status, 400);
    assert_eq!(post(&world, "/d/push", "", "1").status, 400);
    assert_eq!(post(&world, "/d/push", "", "{").failure(), failure(400, "INVALID_JSON_VALUE"));
    for path in ["none", "n.x", "list[0]"] {
        assert_eq!(post(&world, "/d/pop", &format!("&path={path}"), "").failure(), failure(404, "NOT_FOUND"), "{path}");
    }
    assert_eq!(post(&world, "/d/pop", "&path=n", "").status, 400);
    assert_eq!(post(&world, "/none/pop", "", "").failure(), failure(404, "KEY_NOT_FOUND"));
    assert_eq!(post(&world, "/none/remove", "&index=0", "").failure(), failure(404, "KEY_NOT_FOUND"));
}
