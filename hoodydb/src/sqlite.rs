//! What SQLite means by its lock bytes.
