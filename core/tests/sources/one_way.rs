//! Modules name each other one way: of what lies side by side in a folder, files and folders, none names what names it, however far
//! round. A folder's own file (`mod.rs`) lists what is in it, and is no neighbour of that; a name that it passes on is looked up where
//! it comes from.
use std::collections::{BTreeMap, BTreeSet};

use crate::each_file;

/// The sources that are looked at.
const ROOTS: [&str; 3] = ["core/src", "sim/src", "supervisor/src"];

/// Folders whose files may name each other round about, and why.
const ONE_THING: [(&str, &str, &str); 1] = [(
    "core/src",
    "unix/connections",
    "a handler is given a connection, which knows its registry, which has the handlers",
)];

/// A module's place, from its package's root on; or that of an item, which has a module's in front.
type ModulePath = Vec<String>;

/// The names that a module uses.
#[derive(Default)]
struct NamedPaths {
    /// By `use`: what it is called here, and where it lies.
    used: BTreeMap<String, ModulePath>,
    /// All of it.
    all: BTreeSet<ModulePath>,
}

fn place(path: &str) -> ModulePath {
    path.split("::").map(|part| part.trim().to_owned()).collect()
}

/// The module that the file at `file` below `root` is.
fn module(file: &str, root: &str) -> ModulePath {
    let path = file.strip_prefix(root).unwrap_or(file).trim_start_matches('/').trim_end_matches(".rs");
    let path = path.strip_suffix("mod").filter(|rest| rest.is_empty() || rest.ends_with('/')).unwrap_or(path);
    let parts = path.split('/').filter(|part| !part.is_empty() && !["lib", "main"].contains(part));
    parts.map(str::to_owned).collect()
}

/// Returns what is compiled into the program, without comments.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The paths of what a `use` names: each as it is written, and what it is called.
fn expand(tree: &str) -> Vec<(String, String)> {
    let Some((before, rest)) = tree.split_once('{') else {
        let (path, name) = tree.split_once(" as ").unwrap_or((tree, tree));
        let name = name.rsplit("::").next().unwrap_or_default();
        return vec![(path.trim().to_owned(), name.trim().to_owned())];
    };
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let mut depth = 0;
    let parts = inner.split(|c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    let parts: Vec<&str> = parts.map(str::trim).filter(|part| !part.is_empty()).collect();
    let whole = |part: &str| match part {
        "self" => before.trim().trim_end_matches("::").to_owned(),
        part => format!("{}{part}", before.trim()),
    };
    parts.into_iter().flat_map(|part| expand(&whole(part))).collect()
}

/// All paths of more than one part in `code`, as they are written.
fn paths(code: &str) -> impl Iterator<Item = &str> {
    let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    words.map(|word| word.trim_end_matches(':')).filter(|word| word.contains("::"))
}

/// The place that `path` means in `module`; `None` if that lies in another package.
fn absolute(path: &str, module: &ModulePath, modules: &BTreeSet<ModulePath>) -> Option<ModulePath> {
    let parts = place(path);
    let supers = parts.iter().take_while(|part| *part == "super").count();
    let (base, rest) = match parts[0].as_str() {
        "crate" => (ModulePath::new(), &parts[1..]),
        "self" => (module.clone(), &parts[1..]),
        "super" => (module[..module.len().checked_sub(supers)?].to_vec(), &parts[supers..]),
        first => {
            let child = [module.clone(), vec![first.to_owned()]].concat();
            (modules.contains(&child).then(|| module.clone())?, &parts[..])
        }
    };
    Some([base, rest.to_vec()].concat())
}

/// Returns what all modules below `root` name.
fn names(root: &str) -> BTreeMap<ModulePath, NamedPaths> {
    let mut files = BTreeMap::new();
    each_file(root, &mut |file, text| {
        if !file.contains("/bin/") {
            files.insert(module(file, root), code(text));
        }
    });
    let modules: BTreeSet<ModulePath> = files.keys().cloned().collect();
    let mut all = BTreeMap::new();
    for (module, code) in &files {
        let mut names = NamedPaths::default();
        let mut rest = String::new();
        for statement in code.split_inclusive(';') {
            let begin = statement.find("use ").filter(|at| {
                let before = statement[..*at].lines().last().unwrap_or_default().trim();
                before.is_empty() || before.starts_with("pub")
            });
            rest.push_str(&statement[..begin.unwrap_or(statement.len())]);
            let Some(begin) = begin else { continue };
            for (path, name) in expand(statement[begin + 4..].trim_end_matches(';')) {
                if let Some(place) = absolute(&path, module, &modules) {
                    names.used.insert(name, place.clone());
                    names.all.insert(place);
                }
            }
        }
        names.all.extend(paths(&rest).filter_map(|path| absolute(path, module, &modules)));
        all.insert(module.clone(), names);
    }
    all
}

/// The module in which what lies at `place` is defined, not the one that only passes it on.
fn defined(place: &ModulePath, all: &BTreeMap<ModulePath, NamedPaths>) -> ModulePath {
    let of = (0..=place.len()).rev().find(|len| all.contains_key(&place[..*len])).unwrap_or_default();
    let passed_on = place.get(of).and_then(|name| all[&place[..of]].used.get(name));
    match passed_on.filter(|passed_on| !place.starts_with(passed_on)) {
        Some(passed_on) => defined(&[passed_on, &place[of + 1..]].concat(), all),
        None => place[..of].to_vec(),
    }
}

/// Of each folder: what of its own names what else of it, and in which file.
type Edges = BTreeMap<ModulePath, BTreeMap<String, BTreeMap<String, String>>>;

fn edges(all: &BTreeMap<ModulePath, NamedPaths>) -> Edges {
    let mut edges = Edges::new();
    for (module, names) in all {
        for named in &names.all {
            let target = defined(named, all);
            let same = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
            if let (Some(from), Some(to)) = (module.get(same), target.get(same)) {
                let of_folder = edges.entry(module[..same].to_vec()).or_default();
                let why = format!("{} names {}", module.join("/"), named.join("::"));
                of_folder.entry(from.clone()).or_default().insert(to.clone(), why);
            }
        }
    }
    edges
}

/// A way from `from` to `to`, in words.
fn way(from: &str, to: &str, graph: &BTreeMap<String, BTreeMap<String, String>>) -> Option<Vec<String>> {
    let mut ways = vec![(from.to_owned(), Vec::new())];
    let mut seen = BTreeSet::new();
    while let Some((at, way)) = ways.pop() {
        for (next, why) in graph.get(&at).into_iter().flatten() {
            let way = [way.clone(), vec![why.clone()]].concat();
            if next == to {
                return Some(way);
            }
            if seen.insert(next.clone()) {
                ways.push((next.clone(), way));
            }
        }
    }
    None
}

/// The circles of modules below a root: the folder, and the way round.
fn circles(all: &BTreeMap<ModulePath, NamedPaths>) -> Vec<(String, String)> {
    let edges = edges(all);
    let of_folder = edges.iter().flat_map(|(folder, graph)| {
        let ways = graph.keys().filter_map(move |name| way(name, name, graph));
        ways.map(|way| (folder.join("/"), way.join(", ")))
    });
    of_folder.collect()
}

#[test]
fn files_and_folders_name_each_other_one_way() {
    for root in ROOTS {
        let excepted: Vec<&str> =
            ONE_THING.iter().filter(|(of, ..)| *of == root).map(|(_, folder, _)| *folder).collect();
        let found = circles(&names(root));
        let is_circular = |folder: &&&str| found.iter().any(|(of, _)| of == *folder);
        let stale: Vec<_> = excepted.iter().filter(|folder| !is_circular(folder)).collect();
        assert!(stale.is_empty(), "these have no circle any more: strike them out: {stale:?}");
        let is_wrong = |(of, _): &(String, String)| !excepted.contains(&of.as_str());
        let wrong: Vec<&str> = found.iter().filter(|it| is_wrong(it)).map(|(_, way)| way.as_str()).collect();
        assert!(wrong.is_empty(), "let one of them lie below the other:\n{}", wrong.join("\n"));
    }
}

#[test]
fn names_are_found() {
    let expanded: Vec<String> =
        expand("crate::a::{self, B, c::{D as E, F}}").into_iter().map(|it| it.0).collect();
    assert_eq!(expanded, ["crate::a", "crate::a::B", "crate::a::c::D", "crate::a::c::F"]);
    let world = &names("sim/src")[&vec!["world".to_owned()]];
    assert!(world.used.contains_key("Happening") && !world.used.contains_key("Arc"));
    assert!(world.all.contains(&place("kernel::SimulatedKernel")), "{:?}", world.all);
    assert_eq!(defined(&place("kernel::SimulatedKernel"), &names("sim/src")), place("kernel::system"));
}

#[test]
fn a_circle_is_found() {
    let names = |uses: &str| {
        let places = uses.split_whitespace().map(|path| (path.to_owned(), place(path)));
        NamedPaths { used: places.clone().collect(), all: places.map(|(_, place)| place).collect() }
    };
    let modules = |last: &str| {
        let all = [("", "a::X"), ("a", "b::Y"), ("b", "c::d::Z"), ("c", ""), ("c::d", last)];
        let all = all.map(|(module, uses)| {
            (place(module).into_iter().filter(|part| !part.is_empty()).collect(), names(uses))
        });
        BTreeMap::from(all)
    };
    assert_eq!(circles(&modules("c::W")), []);
    assert_eq!(circles(&modules("a::X")).len(), 3);
}
