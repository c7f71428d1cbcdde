//! How backups are made and kept: the options that a backup and a schedule share.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::archive::Keep;
use crate::cli::duration;
use crate::database::Depth;

/// Where backups go, unless another place is given.
const DEFAULT_TO: &str = "/var/backups/hoodydb/";

/// How backups are made and kept.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct How {
    /// A directory, in which each database has one of its own; or, for one database, the file
    #[arg(long, value_name = "DIR|FILE", default_value = DEFAULT_TO)]
    pub(in crate::cli) to: PathBuf,
    /// Compress the copy
    #[arg(long, value_name = "HOW")]
    pub(super) compress: Option<Compression>,
    /// What is checked before the backup is given its name
    #[arg(long, value_name = "HOW", default_value = "full", default_missing_value = "full", num_args = 0..=1, require_equals = true)]
    pub(super) verify: Verify,
    #[command(flatten)]
    pub(super) keep: KeepArgs,
    /// Pages that are copied at once; writers of a rollback journal wait for so long
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) pages_per_step: Option<u32>,
    /// How often a copy begins anew, because somebody wrote, before it keeps writers out
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(super) restarts: u32,
    /// Copy at full speed while others write too; their commits wait for the disk meanwhile
    #[arg(long)]
    pub(super) full_speed: bool,
    /// How long to wait for a lock: 500ms, 30s, 2m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse)]
    pub(super) timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Compression {
    /// Zstandard
    Zstd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Verify {
    /// integrity_check: tables, indexes, and whether they fit each other
    Full,
    /// quick_check: tables and indexes
    Quick,
    /// Nothing
    None,
}

/// Which backups of a database stay; all of them without a rule.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct KeepArgs {
    /// Keep the last N backups of each database; rules add up, and without one nothing is ever removed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    /// Keep one for each of the last N hours that have one
    #[arg(long, value_name = "N")]
    keep_hourly: Option<u32>,
    /// Keep one for each of the last N days that have one
    #[arg(long, value_name = "N")]
    keep_daily: Option<u32>,
    /// Keep one for each of the last N weeks that have one
    #[arg(long, value_name = "N")]
    keep_weekly: Option<u32>,
    /// Keep one for each of the last N months that have one
    #[arg(long, value_name = "N")]
    keep_monthly: Option<u32>,
    /// Keep one for each of the last N years that have one
    #[arg(long, value_name = "N")]
    keep_yearly: Option<u32>,
}

impl KeepArgs {
    pub(super) fn rule(&self) -> Keep {
        Keep {
            last: self.keep,
            hourly: self.keep_hourly,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            yearly: self.keep_yearly,
        }
    }
}

impl Verify {
    pub(super) const fn depth(self) -> Option<Depth> {
        match self {
            Self::Full => Some(Depth::Full),
            Self::Quick => Some(Depth::Quick),
            Self::None => None,
        }
    }
}

impl How {
    /// The same options as words of a command line, without `--to`.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut add = |name: &str, value: Option<String>| {
            words.extend(value.map(|value| format!("--{name}={value}")));
        };
        let named = |value: Option<clap::builder::PossibleValue>| value.map(|value| value.get_name().to_owned());
        let number = |value: Option<u32>| value.map(|value| value.to_string());
        add("compress", self.compress.and_then(|how| named(how.to_possible_value())));
        add("verify", named(self.verify.to_possible_value()));
        let keep = &self.keep;
        add("keep", number(keep.keep));
        add("keep-hourly", number(keep.keep_hourly));
        add("keep-daily", number(keep.keep_daily));
        add("keep-weekly", number(keep.keep_weekly));
        add("keep-monthly", number(keep.keep_monthly));
        add("keep-yearly", number(keep.keep_yearly));
        add("pages-per-step", number(self.pages_per_step));
        add("restarts", number(Some(self.restarts)));
        add("timeout", Some(format!("{}ms", self.timeout.as_millis())));
        words.extend(self.full_speed.then(|| "--full-speed".to_owned()));
        words
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Wrapper {
        #[command(flatten)]
        how: How,
    }

    #[test]
    fn the_words_are_the_same_options() {
        let all = "backup --compress zstd --verify=quick --keep 1 --keep-hourly 2 --keep-daily 3 --keep-weekly 4 --keep-monthly 5 \
                   --keep-yearly 6 --pages-per-step 7 --restarts 8 --timeout 9s --full-speed";
        for line in ["backup", all] {
            let how = Wrapper::parse_from(line.split_whitespace()).how;
            let words = ["backup".to_owned()].into_iter().chain(how.words());
            let again = Wrapper::parse_from(words).how;
            assert_eq!(format!("{how:?}"), format!("{again:?}"));
        }
        assert_eq!(Wrapper::parse_from(["backup", "--verify"]).how.verify, Verify::Full);
    }
}
