//! Requests that make, list, maintain and remove databases, on a real directory.

use std::os::unix::fs::symlink;

use serde_json::json;

use super::super::testing::World;

fn maintain(world: &World, body: &str) -> super::super::testing::Reply {
    world.post("/maintenance?db=a&timeout=1", body)
}

#[test]
fn a_database_is_made_once() {
    let world = World::new();
    let reply = world.post("/db/create?path=a&init_kv=true", "");
    let body = reply.json();
    assert_eq!(reply.status, 201, "{body}");
    assert_eq!(body["tables"], json!(["_query_history", "kv_store", "kv_store_history"]));
    assert_eq!(body["size"].as_u64(), Some(world.path("a").metadata().unwrap().len()));
    assert_eq!((&body["path"], &body["kv_table"]), (&json!("a"), &json!("kv_store")));
    let reply = world.post("/db/create?path=.%2Fa", "");
    assert_eq!(reply.failure(), (409, "DATABASE_EXISTS".to_owned()));
    assert_eq!((&reply.json()["path"], &reply.json()["exists"]), (&json!("./a"), &json!(true)));
    let reply = world.post("/db/create?path=%2Fhoody%2Fdatabases%2Fx%2Fy%2Fb.db&kv_table=mine", "");
    assert_eq!((reply.status, &reply.json()["tables"]), (201, &json!(["_query_history"])));
    assert!(world.path("x/y/b").is_file());
}

#[test]
fn what_is_there_already_is_left_alone() {
    let world = World::new();
    std::fs::create_dir(world.path("dir")).unwrap();
    std::fs::write(world.path("empty"), "").unwrap();
    std::fs::write(world.path("text"), "not a database").unwrap();
    for (name, code) in [("dir", "CONFLICT"), ("empty", "DATABASE_EXISTS"), ("text", "DATABASE_EXISTS")] {
        let reply = world.post(&format!("/db/create?path={name}"), "");
        assert_eq!(reply.failure(), (409, code.to_owned()), "{name}");
        assert_eq!((&reply.json()["path"], &reply.json()["exists"]), (&json!(name), &json!(true)));
    }
    for (name, code) in
        [("dir", "PATH_IS_DIRECTORY"), ("empty", "INVALID_SQLITE_HEADER"), ("text", "INVALID_SQLITE_HEADER")]
    {
        assert_eq!(world.delete(&format!("/db?db={name}")).failure(), (400, code.to_owned()), "{name}");
        assert!(world.path(name).exists());
    }
    assert_eq!(world.post("/db/create?path=b&kv_table=sqlite_x", "").failure(), (400, "INVALID_PARAMETERS".to_owned()));
    assert_eq!(world.post("/db/create?path=data%2Fb", "").failure(), (400, "INVALID_DB_PATH".to_owned()));
    assert!(!world.path("b").exists());
}

#[test]
fn a_database_goes_with_its_side_files() {
    let world = World::new();
    drop(world.sqlite("a", "PRAGMA journal_mode = WAL; CREATE TABLE t(a)"));
    assert_eq!(world.get("/query?db=a&sql=SELECT%201").status, 200);
    let reply = world.delete("/db?db=a");
    assert_eq!((reply.status, &reply.json()["path"]), (200, &json!("a")));
    let left: Vec<_> = std::fs::read_dir(world.path("a").parent().unwrap()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(world.delete("/db?db=a").failure(), (404, "DATABASE_NOT_FOUND".to_owned()));
    assert_eq!(world.post("/db/create?path=a", "").status, 201);
    let reply = world.get("/query?db=a&sql=SELECT%20name%20FROM%20sqlite_schema%20WHERE%20name='t'");
    assert_eq!(reply.json()["rowCount"], 0);
}

#[test]
fn a_database_in_use_stays() {
    for mode in ["WAL", "DELETE"] {
        let world = World::new();
        let native =
            world.sqlite("a", &format!("PRAGMA journal_mode = {mode}; CREATE TABLE t(a); INSERT INTO t VALUES (1)"));
        // A WAL database is in use while it is open, another one while it is read.
        if mode == "DELETE" {
            native.execute_batch("BEGIN; SELECT * FROM t").unwrap();
        }
        let reply = world.delete("/db?db=a&timeout=1");
        assert_eq!(reply.failure(), (503, "DATABASE_BUSY".to_owned()), "{mode}");
        assert!(world.path("a").exists());
        if mode == "WAL" {
            assert!(world.path("a").with_extension("db-wal").exists());
        } else {
            native.execute_batch("COMMIT").unwrap();
        }
        native.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        drop(native);
        assert_eq!(world.delete("/db?db=a").status, 200, "{mode}");
    }
}

#[test]
fn a_list_tells_databases_and_nothing_else() {
    let world = World::new();
    assert_eq!(world.get("/db/list").text(), r#"{"success":true,"dir":"/hoody/databases","count":0,"databases":null}"#);
    drop(world.sqlite("a", "CREATE TABLE t(a)"));
    std::fs::write(world.path("text"), "not a database, but longer than a header").unwrap();
    std::fs::write(world.path("short"), "").unwrap();
    std::fs::create_dir(world.path("dir")).unwrap();
    symlink(world.path("a"), world.path("link")).unwrap();
    std::fs::write(world.path("a").with_extension("txt"), "").unwrap();
    let set = |name: &str, seconds| {
        let file = std::fs::File::options().append(true).open(world.path(name)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
    };
    set("text", 1_795_341_602);
    set("a", 1_795_341_601);
    set("short", 1_795_341_600);
    let body = world.get("/db/list?dir=/hoody/databases/").json();
    let names: Vec<_> =
        body["databases"].as_array().unwrap().iter().map(|one| (&one["name"], &one["is_valid"])).collect();
    assert_eq!(
        names,
        [(&json!("text.db"), &json!(false)), (&json!("a.db"), &json!(true)), (&json!("short.db"), &json!(false))]
    );
    let expected = json!({"name": "a.db", "path": "/hoody/databases/a.db", "size": 8192, "size_str": "8.0 KB",
        "modified": "2026-11-22T10:00:01Z", "mod_unix": 1_795_341_601, "is_valid": true});
    assert_eq!(body["databases"][1], expected);
}

#[test]
fn a_list_does_not_leave_the_root() {
    let (world, other) = (World::new(), World::new());
    drop(other.sqlite("secret", "CREATE TABLE t(a)"));
    let root = |world: &World| world.path("a").parent().unwrap().to_owned();
    symlink(root(&other), root(&world).join("out")).unwrap();
    std::fs::create_dir(root(&world).join("in")).unwrap();
    symlink(root(&world).join("in"), root(&world).join("also")).unwrap();
    let list = |dir: &str| world.get(&format!("/db/list?dir={dir}"));
    assert_eq!(list("/hoody/databases/out").failure(), (403, "FORBIDDEN".to_owned()));
    assert_eq!(list("/etc").failure(), (403, "FORBIDDEN".to_owned()));
    assert_eq!(list("/hoody/databases/..").failure(), (403, "FORBIDDEN".to_owned()));
    assert_eq!(list("/hoody/databases/also").json()["dir"], "/hoody/databases/in");
    for dir in ["", "x", "/hoody/databases/nothing", "/hoody/databases/a.db"] {
        drop(world.sqlite("a", "CREATE TABLE IF NOT EXISTS t(a)"));
        assert_eq!(list(dir).failure(), (400, "INVALID_PARAMETERS".to_owned()), "{dir}");
    }
}

#[test]
fn a_list_drops_no_lock_of_this_process() {
    let world = World::new();
    drop(world.sqlite("a", "CREATE TABLE t(a)"));
    let identity = |world: &World| {
        let meta = world.path("a").metadata().unwrap();
        std::os::unix::fs::MetadataExt::ino(&meta)
    };
    // The connection of the interface is kept open behind the request, and this one holds the file's write lock for good.
    assert_eq!(world.post("/db?db=a", r#"{"transaction":[{"query":"SELECT 1"}]}"#).status, 200);
    let native = world.sqlite("a", "BEGIN IMMEDIATE");
    assert!(is_locked(identity(&world)));
    assert_eq!(world.get("/db/list").json()["databases"][0]["is_valid"], true);
    assert!(is_locked(identity(&world)));
    native.execute_batch("COMMIT").unwrap();
}

/// Whether this process has a POSIX write lock on an inode, as the kernel tells it.
fn is_locked(inode: u64) -> bool {
    let (pid, inode) = (std::process::id().to_string(), format!(":{inode}"));
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    locks.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.contains(&"POSIX")
            && fields.contains(&"WRITE")
            && fields.contains(&pid.as_str())
            && fields.iter().any(|field| field.ends_with(&inode))
    })
}

#[test]
fn a_copy_is_whole_or_not_there() {
    let world = World::new();
    drop(world.sqlite("a", "CREATE TABLE t(a); INSERT INTO t VALUES (7)"));
    let into = |path: &str| maintain(&world, &json!({"op": "vacuum_into", "dest_path": path}).to_string());
    assert_eq!(into("b").text(), r#"{"op":"vacuum_into","result":"ok"}"#);
    let reply = into("b");
    assert_eq!(reply.failure(), (409, "CONFLICT".to_owned()));
    assert_eq!((&reply.json()["reqIdx"], reply.header("Retry-After")), (&json!(-1), None));
    assert_eq!(into("/hoody/databases/x/y/c.db").status, 200);
    assert_eq!(
        world.get("/query?db=/hoody/databases/x/y/c.db&sql=SELECT%20a%20FROM%20t").json()["resultSet"],
        json!([{"a": 7}])
    );
    std::fs::write(world.path("empty"), "").unwrap();
    assert_eq!(into("empty").failure(), (409, "CONFLICT".to_owned()));
    assert_eq!(into("../c").failure(), (400, "INVALID_DB_PATH".to_owned()));
    let mut names: Vec<_> =
        std::fs::read_dir(world.path("a").parent().unwrap()).unwrap().map(|one| one.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a.db", "b.db", "empty.db", "x"]);
    // The copy has not made room for what clients attach.
    let attach = r#"{"transaction":[{"statement":"ATTACH ':memory:' AS x"}]}"#;
    assert_eq!(world.post("/db?db=a", attach).failure(), (400, "SQL_ERROR".to_owned()));
}

#[test]
fn maintenance_does_what_is_asked_for() {
    let world = World::new();
    let missing = maintain(&world, r#"{"op":"quick_check"}"#);
    assert_eq!((missing.failure(), &missing.json()["reqIdx"]), ((404, "DATABASE_NOT_FOUND".to_owned()), &json!(-1)));
    drop(world.sqlite("a", "CREATE TABLE t(a)"));
    assert_eq!(maintain(&world, r#"{"op":"quick_check"}"#).text(), r#"{"op":"quick_check","result":"ok"}"#);
    assert_eq!(maintain(&world, r#"{"op":"wal_checkpoint_truncate"}"#).json()["result"], "ok");
    assert_eq!(maintain(&world, r#"{"op":"reset_changes"}"#).json()["result"], "ok");
    for body in ["", "{}", "[]", r#"{"op":"defrag"}"#, r#"{"op":7}"#, r#"{"op":"vacuum_into"}"#] {
        let reply = maintain(&world, body);
        assert_eq!(
            (reply.failure(), &reply.json()["reqIdx"]),
            ((400, "INVALID_PARAMETERS".to_owned()), &json!(-1)),
            "{body}"
        );
    }
}

#[test]
fn a_checkpoint_that_is_blocked_says_so() {
    let world = World::new();
    let native = world.sqlite("a", "PRAGMA journal_mode = WAL; CREATE TABLE t(a); BEGIN; SELECT * FROM t");
    let other = world.sqlite("a", "INSERT INTO t VALUES (1)");
    let reply = maintain(&world, r#"{"op":"wal_checkpoint_truncate"}"#);
    assert_eq!(reply.failure(), (409, "CONFLICT".to_owned()));
    assert_eq!((&reply.json()["reqIdx"], reply.header("Retry-After")), (&json!(-1), Some("1")));
    native.execute_batch("COMMIT").unwrap();
    assert_eq!(maintain(&world, r#"{"op":"wal_checkpoint_truncate"}"#).json()["result"], "ok");
    assert_eq!(world.path("a").with_extension("db-wal").metadata().unwrap().len(), 0);
    drop(other);
}
