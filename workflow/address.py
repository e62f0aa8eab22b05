"""Set the repository's public address wherever the project names it: book/_config.yml holds the one in force."""

import re
import subprocess
import sys
from pathlib import Path

CONFIG = Path("book/_config.yml")
PATTERN = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+)")


def current() -> str:
    """OWNER/NAME of the address in force."""
    line = next(line for line in CONFIG.read_text().splitlines() if line.strip().startswith("url:"))
    return PATTERN.search(line)[1]


def main(url: str) -> None:
    match = PATTERN.fullmatch(url.removesuffix("/").removesuffix(".git"))
    if not match:
        sys.exit(
            f"URL is {url!r}; expected https://github.com/OWNER/NAME: make address URL=https://github.com/OWNER/NAME"
        )
    old, new = current(), match[1]
    tracked = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True).stdout.split("\0")
    for path in map(Path, filter(None, tracked)):
        if path.is_symlink() or path.suffix in (".png", ".svg") or path == Path(__file__):
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        # plain address, and Colab's and Binder's forms of it
        changed = re.sub(rf"(github\.com/|/github/|/gh/){re.escape(old)}(?![\w-])", rf"\g<1>{new}", text)
        if changed != text:
            path.write_text(changed)
            print(f"{path}: {old} -> {new}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) == 2 else "")
