//! The rules of the house that no compiler checks, kept as data: which module may know which, which file may do what,
//! what we depend on, and how a file looks. A failure names the file, the line and the rule; change the code, or change
//! the rule here and say why in the commit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Modules of `src/` from the bottom up. A module may name modules on lines above its own, and itself; neighbours on
/// one line do not know each other. A name stands for the file and the folder of that name. Those that are not built
/// yet have their place kept.
const LAYERS: &[&[&str]] = &[
    &["ordered", "os", "time"],
    &["config", "metrics"],
    &["disk", "timers"],
    &["chunk", "groups"],
    &["api", "output", "segment", "lsm"],
    &["view", "language"],
    &["worker"],
    &["broker", "native", "kafka", "http"],
    &["conn"],
    &["server"],
    &["reactor", "offline"],
    &["serve"],
    &["cli"],
    &["lib", "main"],
];

/// Direct dependencies, exactly.
const DEPENDENCIES: &[(&str, &[&str])] = &[
    ("Cargo.toml", &["crc32fast", "env_logger", "krappy-wire", "libc", "log", "memmap2", "mio", "slab"]),
    ("crates/krappy-wire/Cargo.toml", &["crc32c", "flate2", "lz4_flex", "ruzstd", "snap"]),
    ("crates/krappy-client/Cargo.toml", &["krappy-wire"]),
];

/// Words that may stand only in some files of `src/`, and why.
const CONFINED: &[(&[&str], &[&str], &str)] = &[
    (&["mio"], &["reactor"], "everything below the reactor runs in the simulator, without sockets"),
    (
        &["Instant::now", "SystemTime::now", "thread::sleep"],
        &["reactor", "worker", "main", "os", "disk"],
        "time comes in as an argument, so that the simulator can make it pass",
    ),
    (
        &["TcpStream", "TcpListener", "UdpSocket", "ToSocketAddrs"],
        &["reactor", "main", "config", "os"],
        "bytes come in through Read and go out through Write",
    ),
];

/// Files that may hold `unsafe`: they call the kernel or map memory.
const UNSAFE: &[&str] = &[
    "src/os.rs",
    "src/disk/map.rs",
    "src/disk/real.rs",
    "crates/krappyctl/src/signal.rs",
    "crates/krappyctl/src/bench/sys.rs",
    "tests/common/os.rs",
];

/// Longest line, in characters.
const LINE: usize = 120;

/// What nobody has to find later. Split, so that this file does not hold them.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
    concat!("#[ig", "nore"),
];

#[test]
fn a_module_knows_only_the_layers_below_it() {
    let mut complaints = Complaints::default();
    for (path, text) in sources("src", "rs") {
        let module = module_of(&path);
        let Some(own) = layer_of(&module) else {
            complaints.add(&path, 1, format!("module {module} has no place in LAYERS of tests/tidy.rs"));
            continue;
        };
        for (line, code) in code_lines(&text) {
            for other in modules_named_in(&code) {
                let known = layer_of(&other).is_none_or(|layer| layer < own) || other == module;
                if !known {
                    complaints.add(
                        &path,
                        line,
                        format!("{module} may not know {other}: see LAYERS in tests/tidy.rs"),
                    );
                }
            }
        }
    }
    complaints.settle();
}

#[test]
fn clocks_sockets_and_mio_stay_where_they_belong() {
    let mut complaints = Complaints::default();
    for (path, text) in sources("src", "rs") {
        let module = module_of(&path);
        for (line, code) in code_lines(&text) {
            for (words, allowed, why) in CONFINED {
                let Some(word) = words.iter().find(|w| has_word(&code, w)) else { continue };
                if !allowed.contains(&module.as_str()) {
                    complaints.add(&path, line, format!("{word} belongs to {}: {why}", allowed.join(", ")));
                }
            }
        }
    }
    complaints.settle();
}

#[test]
fn unsafe_stands_in_few_files_and_every_block_has_its_argument() {
    let mut complaints = Complaints::default();
    for (path, text) in sources("src", "rs").into_iter().chain(sources("crates", "rs")) {
        let lines: Vec<&str> = text.lines().collect();
        for (number, code) in code_lines(&text) {
            if !has_word(&code, "unsafe") && !code.contains("allow(unsafe_code)") {
                continue;
            }
            if !UNSAFE.contains(&path.as_str()) {
                complaints.add(&path, number, format!("unsafe code is confined to {}", UNSAFE.join(", ")));
            } else if has_word(&code, "unsafe") && !is_argued(&lines[..number - 1]) {
                complaints.add(
                    &path,
                    number,
                    "an unsafe block needs a comment above it that begins with SAFETY",
                );
            }
        }
    }
    complaints.settle();
}

#[test]
fn files_begin_with_what_they_are_and_lines_fit_a_screen() {
    let mut complaints = Complaints::default();
    for (path, text) in files(&["rs", "py", "sh", "toml"]) {
        if path.ends_with(".rs") && !text.starts_with("//! ") {
            complaints.add(
                &path,
                1,
                "a file begins with a //! comment: what it is, and the invariant it keeps",
            );
        }
        let quoted: Vec<usize> = if path.ends_with(".rs") {
            strip(&text).iter().map(|line| line.quoted).collect()
        } else {
            Vec::new()
        };
        for (number, line) in text.lines().enumerate() {
            // Text that a program prints is one string however long it is.
            let length = line.chars().count() - quoted.get(number).unwrap_or(&0);
            if length > LINE && !line.contains("https://") {
                complaints.add(&path, number + 1, format!("{length} characters, {LINE} fit: make fmt"));
            }
        }
    }
    complaints.settle();
}

#[test]
fn nothing_is_left_for_later() {
    let mut complaints = Complaints::default();
    for (path, text) in files(&["rs", "py", "sh", "toml", "md"]) {
        for (number, line) in text.lines().enumerate() {
            if let Some(mark) = UNFINISHED.iter().find(|mark| line.contains(**mark)) {
                complaints.add(
                    &path,
                    number + 1,
                    format!("{mark} is a promise to nobody: do it, or leave it out"),
                );
            }
        }
    }
    complaints.settle();
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    let mut complaints = Complaints::default();
    for (path, text) in files(&["md"]) {
        let folder = root().join(&path).parent().expect("a file lies in a folder").to_path_buf();
        for (number, line) in text.lines().enumerate() {
            for target in link_targets(line) {
                let file = target.split('#').next().unwrap_or_default();
                if !target.contains("://") && !file.is_empty() && !folder.join(file).exists() {
                    complaints.add(&path, number + 1, format!("the link to {target} leads nowhere"));
                }
            }
        }
    }
    complaints.settle();
}

#[test]
fn direct_dependencies_are_the_ones_we_agreed_on() {
    for (manifest, agreed) in DEPENDENCIES {
        let text = fs::read_to_string(root().join(manifest)).unwrap_or_else(|e| panic!("{manifest}: {e}"));
        let named: BTreeSet<&str> = section(&text, "[dependencies]")
            .filter_map(|line| Some(line.split_once(['=', '.'])?.0.trim()))
            .collect();
        let agreed: BTreeSet<&str> = agreed.iter().copied().collect();
        assert_eq!(named, agreed, "left: {manifest}, right: DEPENDENCIES in tests/tidy.rs");
    }
}

/// README.md says how many packages are compiled into the broker, and how many run only while it is built.
#[test]
fn the_readme_tells_the_true_number_of_packages() {
    let compiled = foreign_packages("normal");
    let built_with: BTreeSet<_> = foreign_packages("normal,build").difference(&compiled).cloned().collect();
    println!("compiled into the broker: {compiled:?}\nrun while it is built: {built_with:?}");

    let names: BTreeSet<&str> = compiled.iter().map(|p| p.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(names.len(), compiled.len(), "no package is there in two versions: {compiled:?}");
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let readme = readme.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = format!(
        "{} packages from crates.io are compiled into the broker, and {} more run while it is built",
        compiled.len(),
        built_with.len()
    );
    assert!(readme.contains(&said), "README.md must say: {said}");
}

#[test]
fn the_checks_above_see_what_they_look_for() {
    let named = |code: &str| modules_named_in(code).into_iter().collect::<Vec<_>>();
    assert_eq!(named("use crate::broker::fetch;"), ["broker"]);
    assert_eq!(named("use crate::{api::{A, B}, time::Now};"), ["api", "time"]);
    assert_eq!(named("pub(crate) fn f(x: crate::disk::Kind, y: krate::z) {"), ["disk"]);
    assert!(has_word("use mio::Poll;", "mio") && !has_word("let miops = 3;", "mio"));
    let code = |text: &str| code_lines(text).map(|(_, code)| code).collect::<Vec<_>>();
    assert_eq!(
        code("let a = \"unsafe // \\\" no\"; // unsafe\n/// unsafe\nunsafe {"),
        ["let a = \"\"; ", "", "unsafe {"]
    );
    assert_eq!(code("r#\"mio \"quoted\"\nmio\"# + x"), ["r#\"", "\" + x"]);
    assert_eq!(code("m('\"', '\\'', b'x', &'a str)"), ["m(, , b, &'a str)"]);
    assert!(is_argued(&["// SAFETY: so.", "// And more.", "let x ="]));
    assert!(!is_argued(&["// SAFETY: of another.", "other();"]));
    assert_eq!(link_targets("see [a](b.md#c), [d](e)"), ["b.md#c", "e"]);
    assert_eq!(module_of("src/disk/sim/tree.rs"), "disk");
    assert!(layer_of("reactor") > layer_of("broker") && layer_of("strange").is_none());
}

/// What was found, shown all at once.
#[derive(Default)]
struct Complaints(Vec<String>);

impl Complaints {
    fn add(&mut self, path: &str, line: usize, what: impl AsRef<str>) {
        self.0.push(format!("{path}:{line}: {}", what.as_ref()));
    }

    fn settle(self) {
        assert!(self.0.is_empty(), "\n{}\n", self.0.join("\n"));
    }
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// `src/disk/sim.rs` and `src/disk.rs` both belong to `disk`.
fn module_of(path: &str) -> String {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs").to_owned()
}

/// The modules after every `crate::`, also inside braces.
fn modules_named_in(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(is_word) {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.extend(first_word(rest)),
            Some(group) => {
                let mut depth = 0;
                let mut starts = vec![0];
                for (i, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => starts.push(i + 1),
                        _ => {}
                    }
                    if depth < 0 {
                        break;
                    }
                }
                found.extend(starts.iter().filter_map(|&s| first_word(group[s..].trim_start())));
            }
        }
    }
    found
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|&c| is_word(c)).collect();
    (!word.is_empty()).then_some(word)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word)
        .any(|(at, _)| !code[..at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word))
}

/// Lines with their numbers, without comments and without what stands in string literals.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, String)> {
    strip(text).into_iter().enumerate().map(|(i, line)| (i + 1, line.code))
}

#[derive(Default)]
struct Line {
    code: String,
    /// Characters that stand in string literals.
    quoted: usize,
}

/// As much of Rust's lexer as it takes to tell code from comments and strings.
fn strip(text: &str) -> Vec<Line> {
    enum In {
        Code,
        Comment,
        Text { hashes: usize, raw: bool },
    }
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\n');
    let mut lines = vec![Line::default()];
    let mut state = In::Code;
    let mut i = 0;
    while i < chars.len() {
        let c = chars[i];
        if c == '\n' {
            lines.push(Line::default());
            if matches!(state, In::Comment) {
                state = In::Code;
            }
            i += 1;
            continue;
        }
        let line = lines.last_mut().expect("there is always a line");
        let mut width = 1;
        match state {
            In::Comment => {}
            In::Text { hashes, raw } => {
                if c == '\\' && !raw {
                    width = if at(i + 1) == '\n' { 1 } else { 2 };
                    line.quoted += width;
                } else if c == '"' && (1..=hashes).all(|n| at(i + n) == '#') {
                    line.code.push(c);
                    width += hashes;
                    state = In::Code;
                } else {
                    line.quoted += 1;
                }
            }
            In::Code if c == '/' && at(i + 1) == '/' => state = In::Comment,
            In::Code if c == '"' => {
                let hashes = line.code.chars().rev().take_while(|&c| c == '#').count();
                let raw = line.code.trim_end_matches('#').ends_with('r');
                line.code.push(c);
                state = In::Text { hashes: if raw { hashes } else { 0 }, raw };
            }
            // A character, not a lifetime.
            In::Code if c == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') => {
                let first = if at(i + 1) == '\\' { i + 3 } else { i + 2 };
                width = (first..).find(|&end| matches!(at(end), '\'' | '\n')).map_or(1, |end| end + 1 - i);
            }
            In::Code => line.code.push(c),
        }
        i += width;
    }
    lines
}

/// Whether the comment right above, or above the beginning of the statement, argues for safety.
fn is_argued(above: &[&str]) -> bool {
    let unfinished =
        |line: &&&str| !line.trim_start().starts_with("//") && !line.trim_end().ends_with([';', '}']);
    let begun = above.iter().rev().take(3).take_while(unfinished).count();
    let comment = above[..above.len() - begun].iter().rev().take_while(|l| l.trim_start().starts_with("//"));
    comment.into_iter().any(|l| l.trim_start().starts_with("// SAFETY:"))
}

fn link_targets(line: &str) -> Vec<&str> {
    let after = line.split("](").skip(1);
    after.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

fn section<'a>(toml: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    toml.lines().skip_while(move |l| l.trim() != name).skip(1).take_while(|l| !l.starts_with('['))
}

/// Packages of the broker's tree on this platform that are not ours, as `name vX.Y.Z`.
fn foreign_packages(edges: &str) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["tree", "--locked", "-p", "krappy", "--prefix", "none", "-e", edges])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo tree prints UTF-8");
    let lines = text.lines().map(|l| l.trim_end_matches(" (*)").trim_end_matches(" (proc-macro)"));
    lines.filter(|l| !l.is_empty() && !l.starts_with("krappy")).map(str::to_owned).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str, extension: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    collect(&root().join(folder), &[extension], &mut found);
    assert!(!found.is_empty(), "{folder} holds no .{extension} file");
    found
}

fn files(extensions: &[&str]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    collect(&root(), extensions, &mut found);
    found
}

/// Path from the root, and text; without what is built, generated or stored.
fn collect(folder: &Path, extensions: &[&str], into: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let entry = entry.expect("a directory entry");
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let kind = entry.file_type().expect("a kind of file");
        if kind.is_dir() {
            let skipped = ["target", "corpus", "artifacts", "node_modules", "krappy-data"];
            if !skipped.contains(&name.as_str()) && (!name.starts_with('.') || name == ".ci") {
                collect(&path, extensions, into);
            }
        } else if kind.is_file() && extensions.iter().any(|e| path.extension().is_some_and(|x| x == *e)) {
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let inside = path.strip_prefix(root()).expect("inside the root");
            into.insert(inside.to_string_lossy().into_owned(), text);
        }
    }
}
