//! The shapes of bodies, as JSON Schema. Called by [`super`]; an object has no members but those that stand here, so that the tests which
//! compare every answer with its shape find each that is missing.

use serde_json::{Map, Value, json};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};

/// A string.
pub(super) fn string() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).build().into()
}

/// A whole number.
pub(super) fn integer() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::Integer).build().into()
}

/// True or false.
pub(super) fn boolean() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::Boolean).build().into()
}

/// Bytes of any kind.
pub(super) fn bytes() -> RefOr<Schema> {
    schema(json!({}))
}

/// Text.
pub(super) fn text() -> RefOr<Schema> {
    string()
}

fn schema(value: Value) -> RefOr<Schema> {
    serde_json::from_value(value).unwrap_or_else(|_| ObjectBuilder::new().build().into())
}

/// An object: `name` is always there, `name?` not always.
fn object(members: &[(&str, Value)]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, shape) in members {
        let (name, is_required) = name.strip_suffix('?').map_or((*name, true), |name| (name, false));
        properties.insert(name.to_owned(), shape.clone());
        if is_required {
            required.push(name);
        }
    }
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn list(of: Value) -> Value {
    json!({ "type": "array", "items": of })
}

fn or_null(mut shape: Value) -> Value {
    if let Some(kind) = shape.get("type").cloned() {
        shape["type"] = json!([kind, "null"]);
    }
    shape
}

fn map_of(of: Value) -> Value {
    json!({ "type": "object", "additionalProperties": of })
}

fn text_() -> Value {
    json!({ "type": "string" })
}

fn number() -> Value {
    json!({ "type": "integer" })
}

fn flag() -> Value {
    json!({ "type": "boolean" })
}

fn any() -> Value {
    json!({})
}

fn done() -> Value {
    json!({ "type": "boolean", "const": true })
}

/// All that stand in the description under a name.
pub(super) fn all() -> Vec<(String, RefOr<Schema>)> {
    let groups = [server(), sql(), files(), sent_to_kv(), kv(), batches(), time_travel(), table_rollback(), records()];
    groups.into_iter().flatten().map(|(name, shape)| (name.to_owned(), schema(shape))).collect()
}

fn server() -> Vec<(&'static str, Value)> {
    let failed = object(&[("key", text_()), ("current_etag", or_null(text_()))]);
    let failure = object(&[
        ("error", text_()),
        ("code", text_()),
        ("reqIdx?", number()),
        ("path?", text_()),
        ("exists?", flag()),
        ("current_etag?", or_null(text_())),
        ("failed?", list(failed)),
        ("reason?", text_()),
        ("message?", text_()),
        ("files_removed?", number()),
    ]);
    let cache = object(&[("size", number()), ("max_size", number()), ("directory_mode", map_of(number()))]);
    let memory = object(&[("rss", number()), ("heap", or_null(number()))]);
    let health = object(&[
        ("status", text_()),
        ("service?", text_()),
        ("implementation?", text_()),
        ("version?", text_()),
        ("built?", or_null(text_())),
        ("started?", text_()),
        ("pid?", number()),
        ("ip?", text_()),
        ("userAgent?", or_null(text_())),
        ("fds?", or_null(number())),
        ("memory?", or_null(memory)),
        ("features?", list(text_())),
        ("cache?", cache.clone()),
        ("counters?", map_of(number())),
    ]);
    vec![("Failure", failure), ("CacheInfo", cache), ("Health", health), ("Value", any())]
}

fn sql() -> Vec<(&'static str, Value)> {
    let values = json!({ "type": ["array", "object", "null"] });
    let item = json!({ "type": "object", "additionalProperties": false, "properties": {
        "query": text_(), "statement": text_(), "sql": text_(), "values": values, "params": values,
        "valuesBatch": { "type": ["array", "null"], "items": { "type": ["array", "object"] } }, "noFail": flag(),
    } });
    let transaction = json!({ "type": "object", "required": ["transaction"], "properties": {
        "resultFormat": text_(), "transaction": { "type": "array", "minItems": 1, "items": item },
    } });
    let result = object(&[
        ("success", flag()),
        ("rowsUpdated?", number()),
        ("rowsUpdatedBatch?", list(number())),
        ("resultHeaders?", list(text_())),
        ("resultSet?", list(map_of(any()))),
        ("resultSetList?", list(list(any()))),
        ("truncated?", flag()),
        ("error?", text_()),
        ("code?", text_()),
        ("rowErrors?", list(text_())),
    ]);
    let query = object(&[
        ("success", done()),
        ("query", text_()),
        ("columns", list(text_())),
        ("resultSet", or_null(list(map_of(any())))),
        ("rowCount", number()),
        ("truncated", flag()),
    ]);
    vec![("Transaction", transaction), ("Results", object(&[("results", list(result))])), ("QueryResult", query)]
}

fn files() -> Vec<(&'static str, Value)> {
    let listed = object(&[
        ("name", text_()),
        ("path", text_()),
        ("size", number()),
        ("size_str", text_()),
        ("modified", text_()),
        ("mod_unix", number()),
        ("is_valid", flag()),
    ]);
    let created = object(&[
        ("success", done()),
        ("message", text_()),
        ("path", text_()),
        ("size", number()),
        ("kv_table", text_()),
        ("tables", list(text_())),
    ]);
    let ops =
        json!({ "type": "string", "enum": ["wal_checkpoint_truncate", "vacuum_into", "quick_check", "reset_changes"] });
    vec![
        ("Created", created),
        (
            "Removed",
            object(&[("success", done()), ("message", text_()), ("path", text_()), ("files_removed", number())]),
        ),
        (
            "Listing",
            object(&[("success", done()), ("dir", text_()), ("count", number()), ("databases", or_null(list(listed)))]),
        ),
        (
            "Maintenance",
            json!({ "type": "object", "required": ["op"], "properties": { "op": ops, "dest_path": text_() } }),
        ),
        ("Done", object(&[("op", text_()), ("result", text_())])),
    ]
}

fn sent_to_kv() -> Vec<(&'static str, Value)> {
    let keys = json!({ "type": "array", "items": text_(), "minItems": 1, "maxItems": 100 });
    let set = json!({ "type": "object", "required": ["key"], "properties": {
        "key": text_(), "value": text_(), "content_type": text_(), "ttl": number(), "if_match": text_(), "if_none_match": text_(),
    } });
    let sets = json!({ "type": "array", "items": set, "minItems": 1, "maxItems": 100 });
    let delete =
        json!({ "type": "object", "required": ["key"], "properties": { "key": text_(), "if_match": text_() } });
    let deletes = json!({ "type": "object", "properties": { "keys": keys, "items": { "type": "array", "items": delete, "maxItems": 100 } } });
    vec![
        ("Removal", json!({ "type": "object", "properties": { "value": any() } })),
        ("Keys", json!({ "type": "object", "required": ["keys"], "properties": { "keys": keys } })),
        ("Sets", json!({ "type": "object", "required": ["items"], "properties": { "items": sets } })),
        ("Deletes", deletes),
        ("Which", json!({ "type": "object", "properties": { "keys": list(text_()), "exclude_keys": list(text_()) } })),
    ]
}

fn kv() -> Vec<(&'static str, Value)> {
    let item = object(&[
        ("key", text_()),
        ("content_type", text_()),
        ("size", number()),
        ("created_at", number()),
        ("updated_at", number()),
        ("expire_at?", number()),
        ("etag", or_null(text_())),
    ]);
    let page = object(&[
        ("success", done()),
        ("count", number()),
        ("limit", number()),
        ("offset", number()),
        ("has_more", flag()),
        ("next_after", or_null(text_())),
        ("change_cursor", or_null(text_())),
        ("items", or_null(list(item))),
    ]);
    let shown = object(&[
        ("key", text_()),
        ("value?", any()),
        ("value_base64?", text_()),
        ("content_type", text_()),
        ("etag", or_null(text_())),
        ("created_at", number()),
        ("updated_at", number()),
        ("expire_at", or_null(number())),
    ]);
    let written = |more: &[(&str, Value)]| {
        let common = [("success", done()), ("key", text_()), ("etag", or_null(text_())), ("path?", text_())];
        object(&[&common, more].concat())
    };
    vec![
        ("Page", page),
        ("Shown", shown),
        ("Put", written(&[("size", number())])),
        ("Deleted", object(&[("success", done()), ("deleted", done())])),
        ("Counted", written(&[("value", number())])),
        ("Pushed", written(&[("length", number())])),
        ("Popped", written(&[("value", any()), ("length", number())])),
        ("Taken", written(&[("removed", any()), ("length", number())])),
        ("Timed", written(&[("expire_at", or_null(number()))])),
    ]
}

fn batches() -> Vec<(&'static str, Value)> {
    let got = or_null(object(&[
        ("value?", any()),
        ("value_base64?", text_()),
        ("content_type?", text_()),
        ("etag?", or_null(text_())),
        ("error?", text_()),
    ]));
    let set = object(&[("key", text_()), ("etag", or_null(text_()))]);
    vec![
        ("GotAll", object(&[("success", done()), ("results", map_of(got))])),
        ("SetAll", object(&[("success", done()), ("count", number()), ("items", list(set))])),
        ("DeletedAll", object(&[("success", done()), ("deleted", number())])),
    ]
}

/// What every answer about a table at a time tells of gaps.
fn gaps() -> [(&'static str, Value); 3] {
    [("has_gaps", flag()), ("gap_keys", or_null(list(text_()))), ("candidate_truncated", flag())]
}

fn time_travel() -> Vec<(&'static str, Value)> {
    let operation = object(&[
        ("op", text_()),
        ("path", text_()),
        ("delta", or_null(number())),
        ("raw_old_value", or_null(text_())),
        ("raw_new_value", or_null(text_())),
        ("old_content_type", or_null(text_())),
        ("new_content_type", or_null(text_())),
        ("old_expire_at", or_null(number())),
        ("new_expire_at", or_null(number())),
    ]);
    let entry = object(&[
        ("op_number", number()),
        ("timestamp", number()),
        ("unrecorded_until?", number()),
        ("operation", operation),
    ]);
    let at = object(&[
        ("key", text_()),
        ("content_type", text_()),
        ("op_number?", number()),
        ("size_estimate", number()),
        ("existed_at_timestamp", flag()),
    ]);
    let value = [("value?", any()), ("value_base64?", text_()), ("content_type", text_())];
    let key = object(&[&[("key", text_()), ("op_number?", number())][..], &value].concat());
    let between = object(&[
        ("op_number", number()),
        ("operation", text_()),
        ("path", text_()),
        ("delta", or_null(number())),
        ("timestamp", number()),
    ]);
    let change = object(&[
        ("key", text_()),
        ("change_type", text_()),
        ("from_value?", any()),
        ("from_value_base64?", text_()),
        ("from_content_type?", text_()),
        ("old_expire_at?", number()),
        ("to_value?", any()),
        ("to_value_base64?", text_()),
        ("to_content_type?", text_()),
        ("new_expire_at?", number()),
        ("operations_between?", list(between)),
    ]);
    let stats = object(&[
        ("created", number()),
        ("modified", number()),
        ("deleted", number()),
        ("unchanged", number()),
        ("total_changes", number()),
    ]);
    let with_gaps = |members: &[(&str, Value)]| object(&[members, &gaps()].concat());
    vec![
        (
            "KeyHistory",
            object(&[("success", done()), ("key", text_()), ("count", number()), ("operations", list(entry))]),
        ),
        ("KeySnapshot", object(&[&[("success", done()), ("op_number", number())][..], &value].concat())),
        ("RolledBack", object(&[("success", done()), ("key", text_()), ("rolled_back", number())])),
        (
            "PageAt",
            with_gaps(&[
                ("success", done()),
                ("timestamp", number()),
                ("count", number()),
                ("offset", number()),
                ("items", or_null(list(at))),
            ]),
        ),
        (
            "TableSnapshot",
            with_gaps(&[
                ("success", done()),
                ("timestamp", number()),
                ("snapshot_time", text_()),
                ("total_keys_at_snapshot", number()),
                ("count", number()),
                ("keys", or_null(list(key))),
            ]),
        ),
        (
            "Diff",
            with_gaps(&[
                ("success", done()),
                ("from_timestamp", number()),
                ("to_timestamp", number()),
                ("stats", stats),
                ("changes", or_null(list(change))),
            ]),
        ),
    ]
}

fn table_rollback() -> Vec<(&'static str, Value)> {
    let change = object(&[
        ("key", text_()),
        ("action", text_()),
        ("operations_to_undo", number()),
        ("reason?", text_()),
        ("current_value?", any()),
        ("current_value_base64?", text_()),
        ("current_content_type?", text_()),
        ("rollback_value?", any()),
        ("rollback_value_base64?", text_()),
        ("rollback_content_type?", text_()),
    ]);
    let preview = object(&[
        ("total_keys", number()),
        ("keys_to_rollback", number()),
        ("keys_to_delete", number()),
        ("keys_to_restore", number()),
        ("operations_to_reverse", number()),
        ("untouched_keys", list(text_())),
        ("discovery_truncated", flag()),
        ("changes", or_null(list(change))),
    ]);
    let rolled_back = object(&[
        ("success", done()),
        ("to_timestamp", number()),
        ("rolled_back", number()),
        ("deleted", number()),
        ("restored", number()),
        ("total_operations_reversed", number()),
        ("untouched_keys", list(text_())),
        ("duration_ms", number()),
    ]);
    let dry = object(&[("success", done()), ("dry_run", done()), ("to_timestamp", number()), ("preview", preview)]);
    vec![("TableRolledBack", rolled_back), ("TableRollbackPreview", dry)]
}

fn records() -> Vec<(&'static str, Value)> {
    let entry = object(&[
        ("id", number()),
        ("sql", text_()),
        ("is_statement", flag()),
        ("success", flag()),
        ("row_count", number()),
        ("execution_time_ms", json!({ "type": "number" })),
        ("timestamp", text_()),
        ("client_ip", text_()),
        ("source", text_()),
        ("error?", text_()),
    ]);
    let entries = or_null(list(entry));
    let history = object(&[
        ("history", entries.clone()),
        ("entries", entries),
        ("count", number()),
        ("limit", number()),
        ("offset", number()),
        ("total", number()),
    ]);
    let stats = object(&[
        ("total_queries", number()),
        ("success_count", number()),
        ("failure_count", number()),
        ("avg_exec_time_ms", json!({ "type": "number" })),
        ("last_minute", number()),
        ("last_hour", number()),
    ]);
    let event = object(&[
        ("seq", number()),
        ("cursor", text_()),
        ("table", text_()),
        ("key", text_()),
        ("op", text_()),
        ("ts", number()),
        ("expire_at", or_null(number())),
        ("etag?", text_()),
        ("value?", any()),
        ("value_base64?", text_()),
        ("content_type?", text_()),
        ("value_omitted?", text_()),
    ]);
    let changes = object(&[
        ("cursor", text_()),
        ("oldest_cursor", text_()),
        ("next_cursor", text_()),
        ("has_more", flag()),
        ("events", list(event)),
    ]);
    vec![
        ("History", history),
        ("Stats", stats),
        ("Message", object(&[("success", done()), ("message", text_())])),
        ("Changes", changes),
    ]
}
