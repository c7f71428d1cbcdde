//! What the tests share: a mount in a directory of its own, and SQLite clients as processes.
