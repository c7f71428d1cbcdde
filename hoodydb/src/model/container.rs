//! The container of a process, as tables and JSON name it.
//!
//! Filled by [`crate::container`] from control groups and the engines' own files; a plain process has none.

use serde::{Deserialize, Serialize};

use super::printable;

/// What keeps a process apart from others: a container, or the systemd unit that it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Container {
    /// `docker`, `podman`, `containerd`, `cri-o`, `lxc`, `nspawn`, `runc`, `systemd`, or `container` where none of them is known.
    pub engine: String,
    /// Its id there; the name of the unit for `systemd`.
    pub id: String,
    /// Its name, where it has one besides the id.
    pub name: Option<String>,
    /// The image that it was made from.
    pub image: Option<String>,
}

/// An id of 64 hexadecimal digits is shown as engines do.
const SHORT_ID_CHARS: usize = 12;

impl Container {
    /// `docker:web`, `podman:0123456789ab`, `systemd:nginx.service`; harmless for terminals.
    pub fn label(&self) -> String {
        let is_hash = self.id.len() == 64 && self.id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = if is_hash { &self.id[..SHORT_ID_CHARS] } else { &self.id };
        format!("{}:{}", printable(&self.engine), printable(self.name.as_deref().unwrap_or(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_short_and_harmless() {
        let mut container = Container { engine: "docker".to_owned(), id: "a".repeat(64), ..Container::default() };
        assert_eq!(container.label(), "docker:aaaaaaaaaaaa");
        container.name = Some("we\u{1b}[2Jb".to_owned());
        assert_eq!(container.label(), "docker:we\\u{1b}[2Jb");
        let unit = Container { engine: "systemd".to_owned(), id: "a.service".to_owned(), ..Container::default() };
        assert_eq!(unit.label(), "systemd:a.service");
    }
}
