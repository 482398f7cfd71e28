//! Files with thousands of extensions: what applying one costs grows as the file does, not faster.
//!
//! Nothing is timed. Postgres writes down each statement that it is sent, and counts the rows that it
//! reads.

use std::fmt::Write;
use std::fs;

use kit::failure::{Failure, Outcome};
use kit::folder::Folder;
use kit::listeners::Listeners;
use kit::postgres::Postgres;
use kit::scene::play;
use kit::server::Server;

/// What applying a file took.
#[derive(Debug, Clone, Copy)]
struct Cost {
    statements: usize,
    rows_read: i64,
}

/// A Postgres that writes down what it is asked.
fn talkative(folder: &Folder) -> Outcome<Postgres> {
    Postgres::start(folder)?.stop()?;
    let file = folder.path().join("elsewhere/postgres/data/postgresql.conf");
    let conf = fs::read_to_string(&file)?;
    fs::write(&file, conf + "log_statement = 'all'\n")?;
    Postgres::start(folder)
}

fn statements(folder: &Folder) -> Outcome<usize> {
    let mut statements = 0;
    for log in fs::read_dir(folder.path().join("elsewhere/postgres/data/log"))? {
        let text = fs::read_to_string(log?.path())?;
        let said = |line: &&str| line.contains(" execute ") || line.contains(" statement: ");
        statements += text.lines().filter(said).count();
    }
    Ok(statements)
}

fn rows_read(postgres: &Postgres) -> Outcome<i64> {
    let sum = "SELECT coalesce(sum(coalesce(idx_tup_fetch, 0) + seq_tup_read), 0)::bigint
               FROM pg_stat_user_tables";
    let said = postgres.ask(sum)?;
    said.trim().parse().map_err(|_| Failure::new(format!("postgres counts no rows: {said}")))
}

/// Applies a file and says what it took.
fn apply(folder: &Folder, postgres: &Postgres, server: &Server, text: &str) -> Outcome<Cost> {
    let (statements_before, rows_before) = (statements(folder)?, rows_read(postgres)?);
    let output = server.apply(text, &[])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(Cost {
        statements: statements(folder)? - statements_before,
        rows_read: rows_read(postgres)? - rows_before,
    })
}

/// A company with as many extensions, a public number each and a group for ten.
fn company(domain: &str, extensions: usize, name: &str) -> String {
    let mut text = format!("[[tenant]]\ndomain = \"{domain}\"\n");
    let numbers: Vec<usize> = (10_000..10_000 + extensions).collect();
    for number in &numbers {
        // Writing into a string cannot fail.
        let _ = write!(
            text,
            "[[tenant.extension]]\nnumber = \"{number}\"\npassword = \"Secret-of-{number}\"\n\
             name = \"{name}\"\n\
             [[tenant.number]]\nnumber = \"+{extensions}{number}\"\nto = \"{number}\"\n"
        );
    }
    for ten in numbers.chunks(10) {
        let members: Vec<String> = ten.iter().map(|number| format!("\"{number}\"")).collect();
        let _ = write!(
            text,
            "[[tenant.ring_group]]\nnumber = \"9{}\"\nmembers = [{}]\n",
            ten.first().copied().unwrap_or_default(),
            members.join(", ")
        );
    }
    text
}

#[test]
fn a_file_ten_times_as_large_takes_no_more_statements_and_ten_times_the_rows() {
    play("large", |scene| {
        let postgres = talkative(&scene.folder)?;
        let at = Listeners::new(scene)?;
        let server = Server::prepare(&scene.folder, at, &postgres.config())?;
        let apply = |text: &str| apply(&scene.folder, &postgres, &server, text);
        // What there is of plans is made for the small company that comes first.
        let file = |domain: &str, extensions, name: &str| {
            company(&format!("small.{domain}"), 20, name) + &company(domain, extensions, name)
        };
        apply("[[tenant]]\ndomain = \"first.test\"\n")?;
        for (what, name) in [("comes", "Ada"), ("stays", "Ada"), ("changes", "Bob")] {
            let few = apply(&file("few.test", 150, name).replace("+20", "+77"))?;
            let many = apply(&file("many.test", 1_500, name).replace("+20", "+88"))?;
            assert!(few.statements > 20, "the statements were not written down: {few:?}");
            assert!(
                many.statements <= few.statements + 5,
                "{what}: ten times as large took {many:?} instead of {few:?}"
            );
            assert!(
                many.rows_read <= 12 * few.rows_read.max(1_000),
                "{what}: ten times as large took {many:?} instead of {few:?}"
            );
        }
        Ok(())
    });
}

#[test]
fn the_line_that_clashes_is_found_without_writing_each_row_by_itself() {
    play("large-clash", |scene| {
        let postgres = talkative(&scene.folder)?;
        let at = Listeners::new(scene)?;
        let server = Server::prepare(&scene.folder, at, &postgres.config())?;
        apply(&scene.folder, &postgres, &server, "[[tenant]]\ndomain = \"first.test\"\n")?;

        // Its name is the second extension's, which is written long before.
        let clash = "[[tenant.extension]]\nnumber = \"20000\"\npassword = \"Secret-of-20000\"\n\
                     auth_username = \"10001\"\n";
        let text = company("many.test", 2_200, "Ada") + clash;
        let line = text.lines().take_while(|line| !line.ends_with("\"20000\"")).count();
        let before = statements(&scene.folder)?;
        let output = server.apply(&text, &[])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        let told = format!(":{line}: 20000 would sign in with the same name as another");
        assert!(said.trim_end().ends_with(&told), "{said}");
        let took = statements(&scene.folder)? - before;
        assert!((200..600).contains(&took), "{took} statements");
        Ok(())
    });
}
