//! Whether a security module confines this process: what a refusal of the kernel may come from.
//!
//! Called where a mount is made or given away, for the words of the error. It only reads.

use std::io;

/// An error of the kernel with who may be behind it: the security module that confines this process, where it says "not permitted".
#[derive(Debug)]
pub struct KernelError(pub io::Error);

impl std::fmt::Display for KernelError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)?;
        match confined_by().filter(|_| self.0.kind() == io::ErrorKind::PermissionDenied) {
            Some(label) => {
                let label = crate::model::printable(label);
                write!(formatter, "; this process is confined by {label}, which may be the reason")
            }
            None => Ok(()),
        }
    }
}

impl std::error::Error for KernelError {}

impl From<io::Error> for KernelError {
    fn from(error: io::Error) -> Self {
        Self(error)
    }
}

/// The label of this process, if a security module confines it.
///
/// # Source
/// proc_pid_attr(5); AppArmor says `unconfined`, SELinux's unconfined types say so in their names.
fn confined_by() -> Option<String> {
    label_in(&std::fs::read_to_string("/proc/thread-self/attr/current").ok()?)
}

fn label_in(text: &str) -> Option<String> {
    let label = text.trim_end_matches(['\0', '\n']);
    (!label.is_empty() && !label.contains("unconfined")).then(|| label.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_confine() {
        assert_eq!(label_in("docker-default (enforce)\n").as_deref(), Some("docker-default (enforce)"));
        let container = "system_u:system_r:container_t:s0:c1,c2\0";
        assert_eq!(label_in(container).as_deref(), Some(container.trim_end_matches('\0')));
        for text in ["", "\n", "unconfined\n", "unconfined_u:unconfined_r:unconfined_t:s0\0"] {
            assert_eq!(label_in(text), None, "{text:?}");
        }
    }
}
