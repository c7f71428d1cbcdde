use super::*;

fn with(text: &str) -> Result<Option<String>, String> {
    with_runtime(text, Path::new("/usr/bin/hoodydb-runc"))
}

#[test]
fn the_runtime_is_added_and_taken_out() {
    for text in ["{}", "{\n}\n", "{ \"log-level\": \"debug\", \"x\" : 18446744073709551615}\n"] {
        let after = with(text).unwrap().unwrap();
        let config = parse(&after).unwrap();
        assert_eq!(config["default-runtime"], "hoodydb");
        assert_eq!(config["runtimes"]["hoodydb"]["path"], "/usr/bin/hoodydb-runc");
        assert_eq!(with(&after), Ok(None), "a second time changes nothing");
        assert_eq!(without_runtime(&after, false).unwrap(), text);
    }
    insta::assert_snapshot!(with("").unwrap().unwrap(), @r#"
    {
      "runtimes": {"hoodydb":{"path":"/usr/bin/hoodydb-runc"}},
      "default-runtime": "hoodydb"
    }
    "#);
}

#[test]
fn dockers_own_default_is_replaced_and_comes_back() {
    let text = "{\"default-runtime\": \"runc\", \"runtimes\": {}}";
    let after = with(text).unwrap().unwrap();
    assert_eq!(parse(&after).unwrap()["default-runtime"], "hoodydb");
    assert_eq!(without_runtime(&after, true).unwrap(), "{\"default-runtime\": \"runc\"}");
}

#[test]
fn what_others_added_since_stays() {
    let after = with("{\"a\":1}").unwrap().unwrap();
    let more = after.replace("{\"hoodydb\"", "{\"kata\":{\"path\":\"/k\"}, \"hoodydb\"").replace("\"a\":1", "\"a\":2");
    let config = parse(&without_runtime(&more, false).unwrap()).unwrap();
    assert_eq!(config, serde_json::json!({ "a": 2, "runtimes": { "kata": { "path": "/k" } } }));
    let chosen = after.replace("\"hoodydb\",\"a\"", "\"kata\",\"a\"");
    assert_eq!(parse(&without_runtime(&chosen, false).unwrap()).unwrap()["default-runtime"], "kata");
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let reasons = [
        "{ // comment\n}",
        "{\"runtimes\": {\"nvidia\": {\"path\": \"/usr/bin/nvidia-container-runtime\"}}}",
        "{\"default-runtime\": \"nvidia\", \"runtimes\": {\"nvidia\": {}}}",
        "{\"default-runtime\": 3}",
        "{\"log-level\": ",
        "[]",
    ]
    .map(|text| with(text).unwrap_err());
    insta::assert_snapshot!(reasons.join("\n"));
}

#[test]
fn a_daemon_goes_back_to_its_own_default() {
    let after = with("{}").unwrap().unwrap();
    let config = parse(&with_default(&after, THEIRS).unwrap()).unwrap();
    assert_eq!(config["default-runtime"], "runc");
    assert!(config["runtimes"]["hoodydb"].is_object());
}
