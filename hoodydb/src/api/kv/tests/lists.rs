use super::*;

fn list(world: &World, query: &str) -> Value {
    let reply = ask(world, "GET", "", query, &[], "");
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

fn keys(page: &Value) -> Vec<&str> {
    page["items"]
        .as_array()
        .map_or(Vec::new(), |items| items.iter().map(|item| item["key"].as_str().unwrap()).collect())
}

#[test]
fn pages_follow_one_another() {
    let world = world();
    for key in ["b:2", "a:1", "b:1", "B:1", "b;"] {
        put(&world, key, "", "1");
    }
    let page = list(&world, "&prefix=b%3A&limit=1");
    has(&page, &json!({"success": true, "count": 1, "limit": 1, "offset": 0, "has_more": true, "next_after": "b:1"}));
    let page = list(&world, "&prefix=b%3A&after=b%3A1");
    has(&page, &json!({"count": 1, "limit": 100, "has_more": false, "next_after": null}));
    assert_eq!(keys(&page), ["b:2"]);
    assert_eq!(keys(&list(&world, "")), ["B:1", "a:1", "b:1", "b:2", "b;"]);
    assert_eq!(keys(&list(&world, "&offset=1&limit=2")), ["a:1", "b:1"]);
    has(&list(&world, "&prefix=zz"), &json!({"count": 0, "items": null, "has_more": false}));
    has(&list(&world, "&prefix=%25"), &json!({"count": 0}));
    has(&list(&world, "&limit=0&after=a"), &json!({"count": 0, "items": null, "next_after": "a"}));
    has(&list(&world, "&limit=5000"), &json!({"limit": 1000}));
    for query in ["&limit=-1", "&offset=-1", "&after=a&offset=1", "&limit=x"] {
        assert_eq!(ask(&world, "GET", "", query, &[], "").failure(), failure(400, "INVALID_PARAMETERS"), "{query}");
    }
}

#[test]
fn an_item_tells_all_but_the_value() {
    let world = world();
    ask(&world, "PUT", "/a", "&ttl=60", &[("content-type", "text/plain")], "ä");
    put(&world, "b", "", "1");
    let page = list(&world, "");
    let item = &page["items"][0];
    has(item, &json!({"key": "a", "content_type": "text/plain", "size": 2, "etag": etag(&world, "a")}));
    assert_eq!(item["expire_at"].as_i64().unwrap(), item["created_at"].as_i64().unwrap() + 60);
    assert!(page["items"][1].get("expire_at").is_none());
}

#[test]
fn a_list_makes_nothing() {
    let world = world();
    has(&list(&world, "&table=nothing"), &json!({"count": 0, "items": null}));
    let tables: i64 = native(&world)
        .query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(tables, 1);
}
