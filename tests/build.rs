//! Turns `HOODYDB_TEST_LONG=1` into `cfg(long_tests)`: what is not asked for is not there, rather than passed unrun.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(long_tests)");
    println!("cargo::rerun-if-env-changed=HOODYDB_TEST_LONG");
    if std::env::var_os("HOODYDB_TEST_LONG").is_some_and(|value| value == "1") {
        println!("cargo::rustc-cfg=long_tests");
    }
}
