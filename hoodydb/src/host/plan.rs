//! The steps of an installation, for this kind of host. Called by `hoodydb install` and `uninstall`.

use std::path::{Path, PathBuf};

use super::Step;

/// The service, as the Debian package has it.
const UNIT: &str = include_str!("../../assets/hoodydb.service");

/// The service of the HTTP interface, as the Debian package has it.
const HTTP_UNIT: &str = include_str!("../../assets/hoodydb-http.service");

/// The user that the assets name.
const USER_IN_ASSETS: &str = "hoodydb";

/// The same for hosts without systemd.
const SCRIPT: &str = include_str!("../../assets/hoodydb.init");

/// Where the texts of the assets say that the program is.
const PROGRAM_IN_ASSETS: &str = "/usr/bin/hoodydb";

/// Programs in these places are installed already.
const PLACES: [&str; 5] = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/bin"];

/// Where a program from elsewhere is copied to.
const BIN: &str = "/usr/local/bin";

const SHARE: &str = "/usr/local/share";

/// What is known of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The program that runs.
    pub program: PathBuf,
    /// Whether a package brought it, with the service and the documents.
    pub is_packaged: bool,
    /// Whether systemd runs the host.
    pub has_systemd: bool,
    /// Whether there is update-rc.d, which makes scripts run at boot.
    pub has_update_rc: bool,
    /// Whether the service is started.
    pub start: bool,
    /// The user of the service of the HTTP interface, where that is wanted.
    pub http: Option<String>,
}

impl Site {
    /// Looks at this host.
    pub fn look(start: bool, http: Option<String>) -> Self {
        let program = std::fs::read_link("/proc/self/exe").unwrap_or_else(|_| PROGRAM_IN_ASSETS.into());
        Self {
            is_packaged: is_packaged(&program),
            program,
            has_systemd: Path::new("/run/systemd/system").is_dir(),
            has_update_rc: Path::new("/usr/sbin/update-rc.d").exists(),
            start,
            http,
        }
    }
}

/// Whether dpkg knows the program.
///
/// # Source
/// dpkg: `info/PACKAGE.list` has a line for each file.
fn is_packaged(program: &Path) -> bool {
    let list = std::fs::read_to_string("/var/lib/dpkg/info/hoodydb.list").unwrap_or_default();
    list.lines().any(|line| Path::new(line) == program)
}

/// Texts that the command line's definition is turned into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Documents {
    /// Man pages by file name.
    pub man_pages: Vec<(String, String)>,
    /// Completions of bash, zsh and fish.
    pub completions: [String; 3],
}

/// The steps, in order.
pub fn plan(site: &Site, documents: &Documents) -> Vec<Step> {
    let mut steps = vec![
        Step::Directory { path: "/var/lib/hoodydb".into(), mode: 0o755 },
        Step::Directory { path: "/var/lib/hoodydb/databases".into(), mode: 0o700 },
    ];
    let is_in_place = PLACES.iter().any(|place| site.program.parent() == Some(Path::new(place)));
    let program = if is_in_place { site.program.clone() } else { Path::new(BIN).join("hoodydb") };
    // A program that an installation put there takes itself away again.
    if !is_in_place || program.starts_with(BIN) {
        let wrapper = site.program.with_file_name("hoodydb-runc");
        steps.push(Step::Program { from: site.program.clone(), to: program.clone() });
        steps.push(Step::Program { from: wrapper, to: Path::new(BIN).join("hoodydb-runc") });
    }
    if !site.is_packaged {
        steps.extend(documents_in_place(documents));
    }
    steps.push(Step::Parent);
    // A package's scripts run the service themselves, as the host's administrator may have told them not to.
    if !site.is_packaged {
        let text = |asset: &str| asset.replace(PROGRAM_IN_ASSETS, &program.to_string_lossy());
        steps.extend(if site.has_systemd {
            let mut steps = with_systemd("hoodydb", text(UNIT), site.start);
            if let Some(user) = &site.http {
                let unit = text(HTTP_UNIT)
                    .replace(&format!("User={USER_IN_ASSETS}\n"), &format!("User={user}\n"))
                    .replace(&format!("--prepare-socket {USER_IN_ASSETS}\n"), &format!("--prepare-socket {user}\n"));
                steps.extend(with_systemd("hoodydb-http", unit, site.start));
            }
            steps
        } else {
            by_script(text(SCRIPT), site)
        });
    } else if site.has_systemd {
        let names = ["hoodydb"].into_iter().chain(site.http.as_ref().map(|_| "hoodydb-http"));
        let stop = |name| format!("systemctl disable --now {name}.service");
        steps.extend(names.map(|name| command("/run/systemd/system", "true", &stop(name), "true")));
    } else {
        steps.push(command("/etc/init.d/hoodydb", "true", "/etc/init.d/hoodydb stop", "true"));
    }
    steps
}

fn documents_in_place(documents: &Documents) -> Vec<Step> {
    let file = |path: PathBuf, text: &String| Step::File { path, text: text.clone(), mode: 0o644 };
    let share = Path::new(SHARE);
    let pages = documents.man_pages.iter().map(|(name, text)| file(share.join("man/man1").join(name), text));
    let places = [
        "bash-completion/completions/hoodydb",
        "zsh/site-functions/_hoodydb",
        "fish/vendor_completions.d/hoodydb.fish",
    ];
    let completions = places.iter().zip(&documents.completions).map(|(place, text)| file(share.join(place), text));
    pages.chain(completions).collect()
}

fn with_systemd(name: &str, unit: String, start: bool) -> Vec<Step> {
    let path = format!("/etc/systemd/system/{name}.service");
    let command = |install: &str, uninstall: &str, check: &str| command(&path, install, uninstall, check);
    let mut steps = vec![
        // Taken back after the file.
        self::command("/run/systemd/system", "true", "systemctl daemon-reload", "true"),
        Step::File { path: (&path).into(), text: unit, mode: 0o644 },
        command("systemctl daemon-reload", "", ""),
        command(
            &format!("systemctl enable {name}.service"),
            &format!("systemctl disable --now {name}.service"),
            &format!("systemctl is-enabled --quiet {name}.service"),
        ),
    ];
    if start {
        let check = format!("systemctl is-active --quiet {name}.service");
        steps.push(command(&format!("systemctl start {name}.service"), "", &check));
    }
    steps
}

fn by_script(script: String, site: &Site) -> Vec<Step> {
    let path = "/etc/init.d/hoodydb";
    let mut steps = vec![Step::File { path: path.into(), text: script, mode: 0o755 }];
    if site.has_update_rc {
        steps.push(command(
            path,
            "/usr/sbin/update-rc.d hoodydb defaults",
            "/usr/sbin/update-rc.d -f hoodydb remove",
            "test -e /etc/rc2.d/S01hoodydb",
        ));
    }
    let [start, check] = if site.start {
        ["start", "status"].map(|word| format!("{path} {word}"))
    } else {
        ["true", "true"].map(str::to_owned)
    };
    steps.push(command(path, &start, &format!("{path} stop"), &check));
    steps
}

fn command(about: &str, install: &str, uninstall: &str, check: &str) -> Step {
    let [install, uninstall, check] = [install, uninstall, check].map(words);
    Step::Command { install, uninstall, check, about: about.into() }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        Site {
            program: "/srv/build/hoodydb".into(),
            is_packaged: false,
            has_systemd: true,
            has_update_rc: true,
            start: true,
            http: None,
        }
    }

    fn lines(site: &Site) -> String {
        let documents = Documents { man_pages: vec![("hoodydb.1".to_owned(), "page".to_owned())], ..<_>::default() };
        let steps = plan(site, &documents);
        let undo = steps.iter().rev().filter_map(Step::describe_undo);
        steps.iter().map(Step::describe).chain(["--- and back".to_owned()]).chain(undo).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_kind_of_host_has_its_steps() {
        let without_systemd = Site { has_systemd: false, program: "/usr/local/bin/hoodydb".into(), ..site() };
        let packaged = Site { is_packaged: true, program: "/usr/bin/hoodydb".into(), start: false, ..site() };
        let all = [("systemd", site()), ("no systemd", without_systemd), ("a package", packaged)];
        let text = all.map(|(name, site)| format!("=== {name}\n{}\n", lines(&site)));
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn the_http_service_runs_as_the_user_that_is_named() {
        let steps = plan(&Site { http: Some("db".to_owned()), ..site() }, &Documents::default());
        let unit = steps.iter().find_map(|step| match step {
            Step::File { path, text, .. } if path.ends_with("hoodydb-http.service") => Some(text.clone()),
            _ => None,
        });
        let unit = unit.unwrap();
        for line in ["User=db", "ExecStartPre=+/usr/local/bin/hoodydb serve --prepare-socket db"] {
            assert!(unit.lines().any(|other| other == line), "{unit}");
        }
    }

    #[test]
    fn the_service_runs_the_program_that_is_installed() {
        let steps = plan(&site(), &Documents::default());
        let unit = steps.iter().find_map(|step| match step {
            Step::File { path, text, .. } if path.ends_with("hoodydb.service") => Some(text.clone()),
            _ => None,
        });
        let unit = unit.unwrap();
        assert!(unit.contains("ExecStart=/usr/local/bin/hoodydb mount --foreground") && !unit.contains("/usr/bin/"));
    }
}
