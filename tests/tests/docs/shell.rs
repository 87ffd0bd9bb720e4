//! Code on a page, and the commands for a shell among it.

/// `text` outside of blocks, in parts: each with whether it is code, between one backtick or two.
pub(crate) fn parts_of(text: &str) -> Vec<(bool, &str)> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find('`') {
        let mark = if rest[at..].starts_with("``") { "``" } else { "`" };
        let Some((code, after)) = rest[at + mark.len()..].split_once(mark) else { break };
        parts.extend([(false, &rest[..at]), (true, code.trim())]);
        rest = after;
    }
    parts.push((false, rest));
    parts
}

/// Returns what is code in `text`, which has no blocks.
pub(crate) fn code_in(text: &str) -> impl Iterator<Item = &str> {
    parts_of(text).into_iter().filter(|(is_code, _)| *is_code).map(|(_, code)| code)
}

/// The programs that begin a command in a line of text. In a block every line is one.
const PROGRAMS: [&str; 5] = ["cargo", "chmod", "handoff-sim", "handoff-supervisor", "systemctl"];

/// Every command on `page`, one space between words, without its comment: those in blocks for a shell, a line that ends with `\`
/// with the next one, and what is code in a line and more than the name of a program. A part in brackets may be left out: such a
/// command is there with it and without it.
pub(crate) fn commands_on(page: &str) -> Vec<String> {
    let parts: Vec<&str> = page.split("```").collect();
    let blocks = parts.iter().skip(1).step_by(2).filter_map(|block| block.split_once('\n'));
    let shown = blocks.filter(|(language, _)| ["sh", "bash", "console"].contains(language));
    let lines = shown.map(|(_, block)| block.replace("\\\n", " "));
    let mut commands: Vec<String> =
        lines.flat_map(|block| block.lines().flat_map(variants).collect::<Vec<_>>()).collect();
    let text: String = parts.iter().step_by(2).copied().collect();
    let begun = code_in(&text)
        .filter(|code| code.split_once(' ').is_some_and(|(program, _)| PROGRAMS.contains(&program)));
    commands.extend(begun.flat_map(variants));
    commands
}

/// The command in `line`, with and without each part that may be left out; none in an empty line.
fn variants(line: &str) -> Vec<String> {
    let command = line.split(" #").next().unwrap_or_default();
    let words: Vec<&str> = command.split_whitespace().collect();
    let command = words.join(" ");
    match command.split_once(" [").and_then(|(before, rest)| Some((before, rest.split_once(']')?))) {
        Some((before, (optional, after))) => {
            [format!("{before}{after}"), format!("{before} {optional}{after}")]
                .iter()
                .flat_map(|command| variants(command))
                .collect()
        }
        None if command.is_empty() => Vec::new(),
        None => vec![command],
    }
}
