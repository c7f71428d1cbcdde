use super::*;

#[test]
fn every_write_is_recorded() {
    let world = world();
    put(&world, "a", "", "1");
    put(&world, "a", "&path=$", "2");
    ask(&world, "DELETE", "/a", "", &[], "");
    put(&world, "b", "", "true");
    assert_eq!(operations(&world, "a"), ["1 SET   - 1", "2 SET $  1 2", "3 DELETE   2 -"]);
    assert_eq!(operations(&world, "b"), ["1 SET   - true"]);
    let connection = native(&world);
    let types: (String, Option<String>, i64) = connection
        .query_row(
            "SELECT old_content_type, new_content_type, typeof(old_value) = 'blob' FROM kv_store_history WHERE op = 'DELETE'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert_eq!(types, ("application/json".to_owned(), None, 1));
}

#[test]
fn what_is_not_recorded_leaves_its_time() {
    let world = world();
    put(&world, "a", "", "1");
    put(&world, "a", "&history=false", "2");
    native(&world)
        .execute("UPDATE kv_store_history SET ts = 5, unrecorded_until = 6 WHERE op = 'UNRECORDED'", [])
        .unwrap();
    post(&world, "/a/incr", "&history=0", "");
    ask(&world, "DELETE", "/a", "&history=off", &[], "");
    put(&world, "a", "", "4");
    put(&world, "a", "&history=no", "5");
    assert_eq!(operations(&world, "a"), ["1 SET   - 1", "2 UNRECORDED   - -", "3 SET   - 4", "4 UNRECORDED   - -"]);
    let query = "SELECT ts, unrecorded_until > 6, new_content_type FROM kv_store_history WHERE op_number = 2";
    let row: (i64, bool, Option<String>) =
        native(&world).query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    assert_eq!(row, (5, true, None));
}

#[test]
fn a_write_that_is_refused_leaves_nothing() {
    let world = world();
    assert_eq!(ask(&world, "DELETE", "/a", "", &[], "").status, 404);
    let tables: i64 = native(&world)
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'kv%'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 0);
}
