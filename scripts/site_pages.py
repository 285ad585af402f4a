"""Hooks of MkDocs: pages that are made from the sources, and links that leave docs/.

A page has a marker such as `<!-- generated: c-functions -->`, which the built site replaces.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = "https://github.com/layerfi/layerfi-auth/blob/main/"
MARKER = re.compile(r"^<!-- generated: ([a-z-]+) -->$", re.MULTILINE)
LINK = re.compile(r"(\]\()(\.\.?/[^)#\s]+)(#[^)\s]*)?(\))")


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def on_page_markdown(markdown: str, page, **_: object) -> str:
    """Fill in the generated parts, and point links that leave docs/ to the repository."""
    source = page.file.src_uri
    markdown = MARKER.sub(lambda marker: GENERATED[marker[1]](), markdown)
    # An optional part of a URL, which is not a link.
    markdown = re.sub(r"(?<!\\)\[/(\w+)\]", r"\\[/\1\\]", markdown)
    # Attributes for rustdoc, which mean nothing here.
    markdown = markdown.replace("```rust,no_run", "```rust")

    def link(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(source), found[2]))
        if path == "CHANGELOG.md":
            page_here = posixpath.relpath("changelog.md", posixpath.dirname(source) or ".")
            return f"{found[1]}{page_here}{found[4]}"
        if path.startswith("docs/"):
            return found[0]
        if not (ROOT / path).exists():
            raise ValueError(f"docs/{source} links to {path}, which does not exist")
        return f"{found[1]}{REPOSITORY}{path}{found[3] or ''}{found[4]}"

    return LINK.sub(link, markdown)


def changelog() -> str:
    text = read("CHANGELOG.md").split("\n", 1)[1]
    # Its links begin at the root of the repository, and those of a page in docs/.
    text = re.sub(r"\]\((?!docs/|https?:|#)", "](../", text)
    return re.sub(r"\]\(docs/", "](", text)


def doc_comment(comment: str) -> str:
    """A comment of the header or of Rust as Markdown text on one line a paragraph."""
    lines = [re.sub(r"^\s*(\*|///) ?", "", line) for line in comment.strip().splitlines()]
    return "\n".join(lines).strip()


def c_functions() -> str:
    """The types and functions of the header, grouped by the object that they belong to."""
    header = read("include/layerfi_auth.h")
    conventions = re.search(
        r"CONVENTIONS for every function in this file:\n(.*?)\*/", header, re.DOTALL
    )
    text = ["## Conventions", "", "```text"]
    text += [re.sub(r"^ \* ?", "", line) for line in conventions[1].strip("\n").splitlines()]
    text = [line.rstrip() for line in text] + ["```", ""]
    entry = re.compile(r"^/\*\*\n(.*?)^ \*/\n(.*?;)\n(?=\n|#|$)", re.MULTILINE | re.DOTALL)
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for comment, declaration in entry.findall(header):
        # Comments inside of an enum name functions too.
        bare = re.sub(r"/\*.*?\*/", "", declaration, flags=re.DOTALL).partition("{")[0]
        names = re.findall(r"\b(layerfi_\w+)\(", bare) or re.findall(
            r"\b(?:struct|enum|typedef [^;]*?)\s*\(?\*?(layerfi_\w+)", bare
        )
        if not names:
            continue
        name = names[0]
        is_function = f"{name}(" in bare
        word = re.match(
            r"layerfi_(client_builder|business_token|client_authorization|\w+?)(_|$)", name
        )
        group = f"`layerfi_{word[1]}`" if is_function else "Types"
        groups.setdefault(group, []).append((name, doc_comment(comment), declaration))
    for group in sorted(groups, key=lambda one: (one != "Types", one)):
        text += [f"## {group}", ""]
        for name, comment, declaration in groups[group]:
            text += [f"### `{name}`", "", "```c", declaration, "```", "", comment, ""]
    return "\n".join(text)


def configuration() -> str:
    """Each setting of the builder with its names in every language."""
    builder = read("core/src/client/builder.rs")
    header = read("include/layerfi_auth.h")
    python = read("python/layerfi_auth/_types.py")
    variables = dict(
        re.findall(r'name: "(\w+)",\s*variable: "(LAYER_\w+)"', read("cli/src/settings.rs"))
    )
    text = []
    for comment, name in re.findall(
        r"((?:^    ///[^\n]*\n)+)(?:^    #\[[^\n]*\n)*^    pub fn (\w+)\(\s*mut self",
        builder,
        re.MULTILINE,
    ):
        if name == "test_clock":
            continue
        in_c = [f"`layerfi_client_builder_set_{name}{unit}`" for unit in ("", "_ms")
                if f"layerfi_client_builder_set_{name}{unit}(" in header]  # fmt: skip
        option = {"credentials_provider": "credentials"}.get(name, name)
        rows = [("Rust", f"`ClientBuilder::{name}`"), ("C", ", ".join(in_c))]
        if re.search(rf"^    {option}:", python, re.MULTILINE) and name != "credentials":
            rows.append(("Python", f"`{option}=`"))
        rows.append(("variable", f"`{variables[name]}`" if name in variables else ""))
        text += [
            f"## {name}",
            "",
            rustdoc(doc_comment(comment)),
            "",
            "| in | name |",
            "| --- | --- |",
        ]
        text += [f"| {where} | {what} |" for where, what in rows if what]
        text += [""]
    return "\n".join(text)


def rustdoc(text: str) -> str:
    """Links of rustdoc as code."""
    text = re.sub(r"\[(`[^`]+`)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\[(`[^`]+`)\]", r"\1", text)
    return re.sub(r"^# ", "### ", text, flags=re.MULTILINE)


GENERATED = {
    "changelog": changelog,
    "c-functions": c_functions,
    "configuration": configuration,
}
