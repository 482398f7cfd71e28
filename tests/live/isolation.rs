//! Every query that the product asks, asked by those who must see nothing.
//!
//! Each is prepared as Postgres will run it, and run under each role: with no tenant entered, and
//! with another one's. What comes back must be nothing, unless the query is one of those that the
//! switches or the provider are meant to ask of everybody.

use std::collections::BTreeSet;
use std::process::Command;

use kit::company::Company;
use kit::failure::{Failure, Outcome};
use kit::listeners::Listeners;
use kit::postgres::{Postgres, ask};
use kit::scene::play;
use kit::server::Server;
use store::database::Role;
use store::query::Query;

/// What every role but the provider must never see across tenants.
const NOT_HERS: [Role; 1] = [Role::Tenant];

fn queries() -> Vec<Query> {
    let lists = store::node::QUERIES.iter().chain(store::provision::QUERIES);
    let others = [
        store::accounts::QUERIES,
        store::object_work::QUERIES,
        store::portal::QUERIES,
        store::provider::nodes::QUERIES,
        store::recordings::QUERIES,
        store::sounds::QUERIES,
    ];
    lists.chain(&others).flat_map(|list| list.iter().copied()).collect()
}

/// Prepares a query and runs it as `entered`, with `asked`'s id wherever it takes a UUID.
fn run(url: &str, query: &Query, entered: Option<&str>, asked: &str) -> Outcome<String> {
    let enter = entered.map_or(String::new(), |tenant| {
        format!("SELECT set_config('tenantd.tenant', '{tenant}', true) \\g /dev/null\n")
    });
    let script = format!(
        "BEGIN;\n{enter}PREPARE q AS {};\n\
         SELECT 'EXECUTE q' || coalesce('(' || string_agg(CASE kind::text \
            WHEN 'uuid' THEN quote_literal('{asked}') || '::uuid' \
            WHEN 'uuid[]' THEN 'ARRAY[' || quote_literal('{asked}') || '::uuid]' \
            ELSE 'NULL::' || kind::text END, ',' ORDER BY place) || ')', '') \
         FROM pg_prepared_statements, unnest(parameter_types) WITH ORDINALITY AS p (kind, place) \
         WHERE name = 'q' \\gexec\nROLLBACK;\n",
        query.sql
    );
    let folder = std::env::temp_dir().join(format!("isolation-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("script.sql");
    std::fs::write(&file, script)?;
    let output = Command::new("psql").args([url, "-qtAX", "-f"]).arg(&file).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// The answer of somebody who sees nothing: no row, or a refusal.
fn is_nothing(said: &str) -> bool {
    let refused = ["permission denied", "row-level security", "violates", "unrecognized", "null"];
    said.lines().map(str::trim).all(|line| {
        line.is_empty()
            || line.contains("ERROR")
            || line == "0"
            || line == "ROLLBACK"
            || refused.iter().any(|word| line.contains(word))
            || line.starts_with("psql:")
            || line.starts_with("LINE")
            || line.starts_with('^')
            || line.contains("DETAIL")
            || line.contains("HINT")
            || line.contains("CONTEXT")
    })
}

#[test]
fn every_query_shows_nothing_to_those_it_is_not_for() {
    play("isolation", |scene| {
        let postgres = Postgres::start(&scene.folder)?;
        let at = Listeners::new(scene)?;
        let mut server = Server::prepare(&scene.folder, at, &postgres.config())?;
        server.run()?;
        let (alpha, beta) = (Company::new("alpha.test"), Company::new("beta.test"));
        server.provision(&[&alpha, &beta])?;
        let urls = postgres.urls();
        let id = |domain: &str| -> Outcome<String> {
            let sql = format!("SELECT tenant_id FROM domain WHERE name = '{domain}'");
            Ok(ask(&urls.provider, &sql)?.trim().to_owned())
        };
        let (ours, theirs) = (id("alpha.test")?, id("beta.test")?);
        assert!(ours.len() == 36 && theirs.len() == 36 && ours != theirs, "{ours} {theirs}");

        let queries = queries();
        let names: BTreeSet<&str> = queries.iter().map(|query| query.sql).collect();
        assert!(names.len() > 40, "the list is not whole: {}", names.len());
        let mut seen = vec![];
        for query in &queries {
            // No query, but a word to the transaction.
            if query.sql.starts_with("SET CONSTRAINTS") {
                continue;
            }
            // Its own role can prepare it at all.
            let url = match query.role {
                Role::Node => &urls.node,
                Role::Tenant => &urls.web,
                Role::Provider => &urls.provider,
                Role::Owner => &urls.migrate,
            };
            let said = ask(url, &format!("PREPARE q AS {}", query.sql))?;
            assert!(!said.contains("ERROR"), "{}: {said}", query.name);
            for entered in [None, Some(theirs.as_str())] {
                let said = run(&urls.web, query, entered, &ours)?;
                // What says nothing about a tenant is nobody's secret.
                let harmless = ["probe", "seen", "check now", "one at a time"];
                // Whoever entered a tenant may see that one.
                let only_theirs =
                    entered.is_some() && !said.contains(&ours) && !said.contains("alpha.test");
                if !is_nothing(&said) && !only_theirs && !harmless.contains(&query.name) {
                    seen.push(format!("{} as {NOT_HERS:?} in {entered:?}: {said}", query.name));
                }
            }
        }
        assert!(seen.is_empty(), "{}", seen.join("\n"));

        // The test can fail: whoever entered the right tenant sees it.
        let portal = store::portal::QUERIES;
        let extensions = portal.iter().find(|query| query.name == "extensions");
        let extensions = extensions.ok_or_else(|| Failure::new("no query of that name"))?;
        let said = run(&urls.web, extensions, Some(&ours), &ours)?;
        assert_eq!(said.matches("Phone 10").count(), 3, "{said}");
        server.stop(kit::wait::START)?;
        postgres.stop()
    });
}

#[test]
fn no_role_reads_a_table_of_a_tenant_without_entering_it() {
    play("tables", |scene| {
        let postgres = Postgres::start(&scene.folder)?;
        let at = Listeners::new(scene)?;
        let mut server = Server::prepare(&scene.folder, at, &postgres.config())?;
        server.run()?;
        server.provision(&[&Company::new("alpha.test")])?;
        let urls = postgres.urls();
        let tables = "SELECT DISTINCT c.relname FROM pg_class c JOIN pg_attribute a \
            ON a.attrelid = c.oid WHERE a.attname = 'tenant_id' AND c.relkind IN ('r', 'p') \
            AND c.relnamespace = 'public'::regnamespace ORDER BY 1";
        let tables = ask(&urls.migrate, tables)?;
        let tables: Vec<&str> = tables.lines().collect();
        assert!(tables.contains(&"extension") && tables.contains(&"call"), "{tables:?}");
        for table in &tables {
            let forced = format!(
                "SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE relname = '{table}'"
            );
            assert_eq!(ask(&urls.migrate, &forced)?.trim(), "t", "{table}");
            let said = ask(&urls.web, &format!("SELECT * FROM \"{table}\""))?;
            assert!(is_nothing(&said), "{table}: {said}");
        }
        // Content is not the provider's either.
        for table in ["extension", "call", "binding", "audit"] {
            let said = ask(&urls.provider, &format!("SELECT * FROM {table}"))?;
            assert!(is_nothing(&said), "{table}: {said}");
        }
        server.stop(kit::wait::START)?;
        postgres.stop()
    });
}
