use super::*;

#[test]
fn native_programs_and_http_share_keys() {
    let world = world();
    put(&world, "a", "", "1");
    let connection = native(&world);
    connection
        .execute_batch("INSERT INTO kv_store(key, value) VALUES ('t', 'text'), ('i', 42), ('r', 1.5), ('b', x'00ff')")
        .unwrap();
    assert_eq!(
        (get(&world, "t"), get(&world, "i"), get(&world, "r")),
        ("text".to_owned(), "42".to_owned(), "1.5".to_owned())
    );
    let blob = ask(&world, "GET", "/b", "", &[], "");
    assert_eq!((blob.bytes(), blob.header("content-type")), (&[0, 255][..], Some("application/octet-stream")));
    assert!(etag(&world, "t") != etag(&world, "i"));
    has(&post(&world, "/i/incr", "", "").json(), &json!({"value": 43}));
    let stored: String =
        connection.query_row("SELECT typeof(value) FROM kv_store WHERE key = 'i'", [], |row| row.get(0)).unwrap();
    assert_eq!(stored, "blob");
}

const MADE: &str = "CREATE TABLE kv_store(key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL, content_type TEXT, \
                    created_at INTEGER, updated_at INTEGER, expire_at INTEGER); \
                    INSERT INTO kv_store(key, value) VALUES ('a', 'x')";

#[test]
fn a_table_that_was_made_natively_is_read_as_it_is() {
    let world = world();
    native(&world).execute_batch(MADE).unwrap();
    let got = ask(&world, "GET", "/a", "", &[], "");
    assert_eq!((got.text(), got.header("etag")), ("x", None));
    assert_eq!(ask(&world, "GET", "", "", &[], "").json()["items"][0]["etag"], Value::Null);
    put(&world, "b", "", "1");
    assert!(ask(&world, "GET", "/a", "", &[], "").header("etag").is_some());
}

#[test]
fn the_tag_of_a_table_that_was_made_again_is_not_told() {
    let world = world();
    put(&world, "a", "", "1");
    let (before, connection) = (etag(&world, "a"), native(&world));
    connection.execute_batch("VACUUM; CREATE TABLE zz(a); DROP TABLE zz; VACUUM").unwrap();
    assert_eq!(etag(&world, "a"), before);
    connection.execute_batch(&format!("DROP TABLE kv_store; {MADE}")).unwrap();
    let got = ask(&world, "GET", "/a", "", &[("if-none-match", &before)], "");
    assert_eq!((got.status, got.header("etag")), (200, None));
    put(&world, "b", "", "1");
    assert_ne!(etag(&world, "a"), before);
}

#[test]
fn a_table_of_something_else_is_a_conflict() {
    let world = world();
    native(&world).execute_batch("CREATE TABLE kv_store(a); CREATE VIEW v AS SELECT 1 AS key, 2 AS value").unwrap();
    for (method, target) in
        [("GET", "/a"), ("HEAD", "/a"), ("GET", "/a/entry"), ("PUT", "/a"), ("DELETE", "/a"), ("GET", "")]
    {
        let reply = ask(&world, method, target, "", &[], "1");
        assert_eq!(reply.failure(), failure(409, "CONFLICT"), "{method} {target}");
        assert_eq!(
            ask(&world, method, target, "&table=v", &[], "1").failure(),
            failure(409, "CONFLICT"),
            "{method} {target}"
        );
    }
}

#[test]
fn a_trigger_that_comes_later_is_noticed() {
    let world = world();
    put(&world, "a", "", "1");
    native(&world).execute_batch("CREATE TRIGGER x AFTER INSERT ON kv_store BEGIN SELECT 1; END").unwrap();
    assert_eq!(ask(&world, "PUT", "/a", "", &[], "1").failure(), failure(409, "CONFLICT"));
    assert_eq!(get(&world, "a"), "1");
}
