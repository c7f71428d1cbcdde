//! The Debian package: installing it sets up the host, removing it takes that back, an upgrade is noticed by nobody.

use std::path::PathBuf;

use hoodydb_tests::{Client, Host, skip};

/// The package that `cargo xtask package` built.
fn package() -> Option<PathBuf> {
    let path = std::env::var_os("HOODYDB_DEB").map(PathBuf::from);
    if path.is_none() {
        skip("HOODYDB_DEB does not name a package: cargo xtask package");
    }
    path
}

#[test]
fn a_package_sets_up_the_host_and_takes_it_back() {
    let Some(package) = package() else { return };
    let Some(host) = Host::new() else { return };
    let inside = host.files().join("hoodydb.deb").display().to_string();
    std::fs::copy(package, &inside).expect("the package can be copied");
    // A build machine forbids packages to start services, and was never booted; this host seems to be.
    host.script("rm -f /usr/sbin/policy-rc.d /sbin/runlevel; printf '#!/bin/sh\\necho N 2' > /sbin/runlevel; chmod +x /sbin/runlevel");
    host.script("dpkg --purge --force-all hoodydb 2>/dev/null || true");
    let engines = || host.snapshot(&["/etc/containers", "/etc/containerd", "/etc/docker"]);
    host.write("/etc/docker/key.json", "{}");
    let before = engines();
    host.run(&["dpkg", "--install", &inside]);
    host.script("sqlite3 /hoody/databases/app.db 'CREATE TABLE t(x)'");
    assert!(host.run(&["findmnt", "-no", "FSTYPE,OPTIONS", "/hoody"]).starts_with("tmpfs  ro,"));
    assert_eq!(host.run(&["/usr/bin/hoodydb", "install"]), "everything is set up already");
    host.script("man -w hoodydb-containers; test -x /usr/bin/hoodydb-runc; test -e /etc/rc2.d/S*hoodydb");
    host.script("test -e /lib/systemd/system/hoodydb.service; test ! -e /etc/systemd/system/hoodydb.service");
    host.run(&["/usr/bin/hoodydb", "containers", "enable"]);

    // The same version once more, as an upgrade is: a transaction goes on.
    let mut client = Client::ready(host.command(&["sh", "-c", "echo ready; exec sqlite3 /hoody/databases/app.db"]));
    client.tell("BEGIN IMMEDIATE; INSERT INTO t VALUES (1); SELECT 'holds';");
    client.expect("holds");
    host.run(&["dpkg", "--install", &inside]);
    client.tell("COMMIT; SELECT count(*) FROM t;");
    client.expect("1");
    client.finish();
    let status = host.run(&["/usr/bin/hoodydb", "status"]);
    assert!(status.contains("upgraded"), "{status}");

    host.run(&["dpkg", "--remove", "hoodydb"]);
    assert_eq!(before.differences(&engines()), [""; 0]);
    host.script("test ! -e /hoody; test ! -e /usr/bin/hoodydb");
    host.run(&["dpkg", "--purge", "hoodydb"]);
    host.script("test ! -e /etc/init.d/hoodydb; sqlite3 /var/lib/hoodydb/databases/app.db 'SELECT count(*) FROM t' | grep -qx 1");
}
