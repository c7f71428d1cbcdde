//! Two containers, one of them with mapped user ids, write to one database through the bound mount at the same time.

use hoodydb_tests::crowd::assert_all_succeeded;
use hoodydb_tests::database::{self, Mode};
use hoodydb_tests::{Crowd, Mount, containers};

const INSERTS: u64 = 25;

#[test]
fn two_containers_write_at_once() {
    if !containers::can_run() {
        return;
    }
    for mode in Mode::ALL {
        let mount = Mount::with(&["--access", "shared"]);
        database::create(&mount.path("app.db"), mode);
        let bundles = [("plain", false), ("mapped", true)].map(|(name, mapped)| {
            let script = format!(
                "echo ready; read -r _; n=0; while [ $n -lt {INSERTS} ]; do n=$((n+1)); \
                 sqlite3 /databases/app.db \"INSERT INTO events(client, body) VALUES ('{name}', $n)\" || exit 1; done"
            );
            containers::bundle(&mount, name, &script, mapped)
        });
        let commands = bundles.iter().map(|bundle| containers::run(&mount, bundle));
        assert_all_succeeded(&Crowd::ready(commands).run());
        for name in ["plain", "mapped"] {
            let rows = database::number(
                &mount.path("app.db"),
                &format!("SELECT count(*) FROM events WHERE client = '{name}'"),
            );
            assert_eq!(rows, INSERTS, "{mode:?}, {name}");
        }
        database::assert_sound(&mount.path("app.db"));
    }
}
