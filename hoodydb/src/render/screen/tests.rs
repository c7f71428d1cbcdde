use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::Widget;

use super::*;
use crate::model::{Container, Counters, DatabaseObservation, Holder, Observation, ProcessName, Waiter};

fn process(pid: u32, command: &str) -> ProcessName {
    ProcessName { pid, command: command.to_owned() }
}

fn holder(role: &str, pid: u32, age_ms: u64) -> Holder {
    Holder { role: role.to_owned(), process: process(pid, "python3 worker.py"), tid: pid, age_ms, ..Holder::default() }
}

fn waiter(pid: u32, behind: u32) -> Waiter {
    Waiter {
        role: "TURN".to_owned(),
        process: process(pid, "sqlite3 orders.db"),
        tid: pid,
        age_ms: 40,
        left_ms: 29_960,
        blocked_by: vec![behind],
        ..Waiter::default()
    }
}

fn look(second: u64) -> Observation {
    let mut wait_us_log2 = [0; 32];
    (wait_us_log2[9], wait_us_log2[10], wait_us_log2[14]) = (3 * second, 20 * second, second);
    let counters = Counters {
        granted: 500 * second,
        waited: 24 * second,
        refused_deadline: second / 3,
        wait_us_log2,
        wait_max_ns: 20_000_000,
        ..Counters::default()
    };
    let mut writer = holder("WRITE", 100, 2_000);
    writer.halted = Some("frozen".to_owned());
    writer.container = Some(Container {
        engine: "docker".to_owned(),
        id: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".to_owned(),
        name: Some("web".to_owned()),
        image: Some("web:1".to_owned()),
    });
    let contended = DatabaseObservation {
        path: "shop/orders.db".to_owned(),
        inodes: vec![7, 8],
        journal_mode: "wal".to_owned(),
        policy: "turn".to_owned(),
        counters,
        holders: vec![writer, holder("READ1", 101, 7_000)],
        holders_total: 2,
        waiters: vec![waiter(102, 100), waiter(103, 100)],
        waiters_total: 2,
        oldest_wait_ms: 40,
        wal_bytes: Some(5 << 20),
    };
    let used = DatabaseObservation {
        path: "evil\u{1b}[2J\nname.db".to_owned(),
        inodes: vec![9],
        journal_mode: "rollback".to_owned(),
        policy: "serial".to_owned(),
        counters: Counters { granted: 7 * second, ..Counters::default() },
        ..DatabaseObservation::default()
    };
    Observation {
        mountpoint: "/hoody/databases".to_owned(),
        phase: "serving".to_owned(),
        taken_ns: second * 1_000_000_000,
        databases: vec![contended, used],
        tracer_missing: Some("the kernel has no BTF".to_owned()),
        ..Observation::default()
    }
}

fn watch() -> Watch {
    let mut watch = Watch::default();
    (1..=6).for_each(|second| watch.take(vec![look(second)]));
    watch
}

/// The screen as text, without the blanks at the ends of its lines.
fn drawn(screen: Screen<'_>, width: u16, height: u16) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    screen.render(area, &mut buffer);
    let line = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| line(y).trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn after(keys: &[Key], watch: &Watch) -> Ui {
    let mut ui = Ui::default();
    assert!(keys.iter().all(|key| !ui.press(*key, watch)));
    ui
}

fn shown(keys: &[Key], width: u16, height: u16) -> String {
    let watch = watch();
    let ui = after(keys, &watch);
    drawn(Screen { watch: &watch, ui: &ui, trouble: None, colour: false }, width, height)
}

#[test]
fn the_list_on_a_wide_terminal() {
    insta::assert_snapshot!(shown(&[], 200, 10));
}

#[test]
fn the_list_on_eighty_columns() {
    insta::assert_snapshot!(shown(&[], 80, 10));
}

#[test]
fn the_list_on_twenty_columns() {
    insta::assert_snapshot!(shown(&[], 20, 10));
}

#[test]
fn into_the_contended_database() {
    insta::assert_snapshot!(shown(&[Key::Enter], 100, 40));
}

#[test]
fn into_it_on_twenty_columns() {
    insta::assert_snapshot!(shown(&[Key::Enter], 20, 24));
}

#[test]
fn help() {
    insta::assert_snapshot!(shown(&[Key::Char('?')], 80, 26));
}

#[test]
fn no_size_is_too_small() {
    for (width, height) in [(0, 0), (1, 1), (2, 2), (20, 1), (1, 50), (300, 100)] {
        for keys in [&[][..], &[Key::Enter], &[Key::Char('?')], &[Key::Char('/'), Key::Char('x')]] {
            shown(keys, width, height);
        }
    }
}

#[test]
fn no_name_moves_the_cursor() {
    let text = shown(&[], 200, 10);
    assert!(text.contains(r"evil\u{1b}[2J\nname.db") && !text.contains('\u{1b}'));
}

#[test]
fn trouble_is_told_and_the_last_figures_stay() {
    let watch = watch();
    let ui = Ui::default();
    let screen = Screen { watch: &watch, ui: &ui, trouble: Some("the daemon is gone\u{7}"), colour: true };
    let text = drawn(screen, 100, 10);
    assert!(text.contains("the daemon is gone\\u{7}") && text.contains("shop/orders.db"), "{text}");
}

#[test]
fn nothing_in_use() {
    let watch = Watch::default();
    let ui = after(&[Key::Enter, Key::Down, Key::Char('j'), Key::End], &watch);
    let text = drawn(Screen { watch: &watch, ui: &ui, trouble: None, colour: false }, 60, 6);
    assert!(text.contains("no database is in use"), "{text}");
}

#[test]
fn a_database_that_goes_while_it_is_looked_into() {
    let mut watch = watch();
    let ui = after(&[Key::Enter], &watch);
    watch.take(vec![]);
    let text = drawn(Screen { watch: &watch, ui: &ui, trouble: None, colour: false }, 60, 6);
    assert!(text.contains("not in use any more"), "{text}");
}

#[test]
fn keys_sort_filter_and_select() {
    let watch = watch();
    let names = |keys: &[Key]| {
        let ui = after(keys, &watch);
        rows(&watch, &ui).iter().map(Row::name).collect::<Vec<_>>()
    };
    let evil = r"evil\u{1b}[2J\nname.db".to_owned();
    let orders = "shop/orders.db".to_owned();
    assert_eq!(names(&[]), [orders.clone(), evil.clone()]);
    assert_eq!(names(&[Key::Char('r')]), [evil.clone(), orders.clone()]);
    assert_eq!(names(&[Key::Char('S')]), [evil.clone(), orders.clone()], "by name");
    let typed: Vec<Key> = "/ORD".chars().map(Key::Char).collect();
    assert_eq!(names(&typed), std::slice::from_ref(&orders));
    assert_eq!(names(&[typed.as_slice(), &[Key::Escape]].concat()).len(), 2);
    let quits_only_outside = [typed.as_slice(), &[Key::Char('q'), Key::Backspace, Key::Enter]].concat();
    assert_eq!(names(&quits_only_outside), [orders]);
    let ui = after(&[Key::Down], &watch);
    assert_eq!(ui.selected_at(&rows(&watch, &ui)), 1);
    assert!(Ui::default().press(Key::Char('q'), &watch));
}

#[test]
fn ten_thousand_databases() {
    let database = |inode: u64| DatabaseObservation {
        path: format!("{inode}.db"),
        inodes: vec![inode],
        holders_total: 1,
        ..DatabaseObservation::default()
    };
    let mut watch = Watch::default();
    let databases = (0..10_000).map(database).collect();
    watch.take(vec![Observation { mountpoint: "/m".to_owned(), databases, ..Observation::default() }]);
    let ui = after(&[Key::End], &watch);
    let text = drawn(Screen { watch: &watch, ui: &ui, trouble: None, colour: false }, 60, 12);
    assert!(text.contains("10000 databases in use") && text.contains("9999.db"), "{text}");
}

#[test]
fn colours_only_where_they_are_wanted() {
    let watch = watch();
    for colour in [true, false] {
        let area = Rect::new(0, 0, 100, 12);
        let mut buffer = Buffer::empty(area);
        Screen { watch: &watch, ui: &Ui::default(), trouble: Some("x"), colour }.render(area, &mut buffer);
        let coloured = buffer.content.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
        assert_eq!(coloured, colour);
    }
}
