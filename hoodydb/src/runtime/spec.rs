//! One more mount in a container's specification, as text: not a byte of the rest is changed. Called by [`super::stand_in`].
//!
//! # Source
//! OCI runtime specification, config.md: `mounts`, `linux.rootfsPropagation`.

use std::path::{Component, Path};

use serde::Deserialize;

use super::json_text::{Edit, Fields, apply, end_of, set};

#[derive(Deserialize)]
struct Mount {
    destination: String,
}

/// The specification with `parent` bound to the same path inside; none if something is mounted there or below already.
///
/// crun mounts the root as `rootfsPropagation` says, and a private root would cut its mounts off: `is_crun` makes it a slave.
///
/// # Errors
/// Why the text is no specification.
pub(super) fn with_mount(text: &str, parent: &str, is_crun: bool) -> Result<Option<String>, String> {
    let wrong = |what: &'static str| move |error: serde_json::Error| format!("{what} cannot be understood: {error}");
    let fields: Fields = serde_json::from_str(text).map_err(wrong("its config.json"))?;
    let mounts = fields.get("mounts").filter(|mounts| mounts.get() != "null");
    let taken: Vec<Mount> = match mounts {
        Some(mounts) => serde_json::from_str(mounts.get()).map_err(wrong("the mounts in its config.json"))?,
        None => Vec::new(),
    };
    if taken.iter().any(|mount| is_at_or_below(&mount.destination, parent)) {
        return Ok(None);
    }
    let mount =
        format!(r#"{{"destination":"{parent}","type":"bind","source":"{parent}","options":["rbind","rslave"]}}"#);
    let mut edits = vec![match mounts {
        Some(mounts) => {
            let comma = if taken.is_empty() { "" } else { "," };
            let end = end_of(text, mounts) - 1;
            (end..end, format!("{comma}{mount}"))
        }
        None => set(text, text, &fields, "mounts", &format!("[{mount}]"), ""),
    }];
    if is_crun {
        edits.extend(slave_root(text, &fields)?);
    }
    Ok(Some(apply(text, edits)))
}

/// The edit that makes the root a slave; none where it is no longer private.
fn slave_root(text: &str, fields: &Fields) -> Result<Option<Edit>, String> {
    let Some(linux) = fields.get("linux") else { return Ok(None) };
    let inner: Fields = serde_json::from_str(linux.get()).map_err(|error| format!("its linux part: {error}"))?;
    let propagation = inner.get("rootfsPropagation").map_or("", |value| value.get());
    let is_private = ["", "null", r#""""#, r#""private""#, r#""rprivate""#].contains(&propagation);
    Ok(is_private.then(|| set(text, linux.get(), &inner, "rootfsPropagation", r#""rslave""#, "")))
}

/// Whether a destination is the parent or lies in it; engines clean paths, people who write specifications may not.
fn is_at_or_below(destination: &str, parent: &str) -> bool {
    let mut clean = std::path::PathBuf::from("/");
    for part in Path::new(destination).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => _ = clean.pop(),
            _ => (),
        }
    }
    clean.starts_with(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Option<String> {
        with_mount(text, "/hoody", false).unwrap()
    }

    const MOUNT: &str = r#"{"destination":"/hoody","type":"bind","source":"/hoody","options":["rbind","rslave"]}"#;

    #[test]
    fn nothing_else_is_changed() {
        let text = "{ \"big\": 18446744073709551615,\n \"mounts\" : [ {\"destination\":\"/a\"} ] ,\"z\":1e400}\n";
        let expected = format!(
            "{{ \"big\": 18446744073709551615,\n \"mounts\" : [ {{\"destination\":\"/a\"}} ,{MOUNT}] ,\"z\":1e400}}\n"
        );
        assert_eq!(with(text).unwrap(), expected);
        assert_eq!(with(r#"{"mounts":[]}"#).unwrap(), format!(r#"{{"mounts":[{MOUNT}]}}"#));
    }

    #[test]
    fn a_list_that_is_missing_is_made() {
        assert_eq!(with("{}").unwrap(), format!(r#"{{"mounts":[{MOUNT}]}}"#));
        assert_eq!(with(r#" {"a":1}"#).unwrap(), format!(r#" {{"mounts":[{MOUNT}],"a":1}}"#));
        assert_eq!(with(r#"{"mounts":null,"a":1}"#).unwrap(), format!(r#"{{"mounts":[{MOUNT}],"a":1}}"#));
    }

    #[test]
    fn what_the_user_mounts_there_stays() {
        for destination in ["/hoody", "/hoody/", "//hoody", "/x/../hoody", "hoody", "/hoody/databases"] {
            let text = format!(r#"{{"mounts":[{{"destination":"{destination}"}}]}}"#);
            assert_eq!(with(&text), None, "{destination}");
        }
        assert!(with(r#"{"mounts":[{"destination":"/hoodyx"}]}"#).is_some());
    }

    #[test]
    fn broken_text_is_refused() {
        for text in ["", "[]", "{", r#"{"mounts":3}"#, r#"{"mounts":[3]}"#, r#"{"mounts":[{}]}"#, "{}}"] {
            assert!(with_mount(text, "/hoody", true).is_err(), "{text}");
        }
    }

    #[test]
    fn crun_gets_a_root_that_is_a_slave() {
        let crun = |text: &str| {
            let changed = with_mount(text, "/hoody", true).unwrap().unwrap();
            let value: serde_json::Value = serde_json::from_str(&changed).unwrap();
            value["linux"]["rootfsPropagation"].as_str().map(str::to_owned)
        };
        assert_eq!(crun(r#"{"linux":{}}"#).unwrap(), "rslave");
        assert_eq!(crun(r#"{"linux":{"rootfsPropagation":"private","x":1},"mounts":[]}"#).unwrap(), "rslave");
        assert_eq!(crun(r#"{"mounts":[],"linux":{"a":2}}"#).unwrap(), "rslave");
        assert_eq!(crun(r#"{"linux":{"rootfsPropagation":"shared"}}"#).unwrap(), "shared");
        assert_eq!(crun("{}"), None);
    }
}
