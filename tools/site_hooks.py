"""Hooks of mkdocs.yml: the README as the first page, pages of source files that other pages link to, and the reference.

Pages link to each other and to source files as GitHub wants it: `training.md`, `../wavegen/codec.py`. A file outside
`docs/` becomes a page of the site, so that nothing leads outside of it.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

REPOSITORY = Path(__file__).parent.parent
SOURCE_LINK = re.compile(r"\]\(\.\./([^)#]+\.(?:py|yaml))\)")
LANGUAGES = {".py": "python", ".yaml": "yaml"}

# Title of each page of the reference, and the modules on it.
REFERENCE: dict[str, tuple[str, tuple[str, ...]]] = {
    "use": (
        "From Python",
        ("wavegen", "wavegen.generation.session", "wavegen.generation.options", "wavegen.errors", "wavegen.progress"),
    ),
    "codes": ("Codes and draws", ("wavegen.codec", "wavegen.sampling")),
    "features": (
        "Features",
        (
            "wavegen.features.frames",
            "wavegen.features.log_mel",
            "wavegen.features.pitch",
            "wavegen.features.linear_prediction",
            "wavegen.features.matching",
        ),
    ),
    "models": (
        "Models and their files",
        ("wavegen.architectures", "wavegen.checkpoint", "wavegen.models.base", "wavegen.models.heads"),
    ),
    "engines": (
        "Engines and streams",
        ("wavegen.generation.stream", "wavegen.generation.scheduler", "wavegen.engines", "wavegen.engines.base"),
    ),
    "data": ("Data", ("wavegen.data.audio", "wavegen.data.images", "wavegen.data.corpora", "wavegen.data.store")),
    "training": ("Recipes and training", ("wavegen.recipe", "wavegen.training.loop", "wavegen.evaluation.bits")),
}


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add the pages that are made of files outside of `docs/`."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=readme.replace("](docs/", "](")))
    for name, (title, modules) in REFERENCE.items():
        content = "\n\n".join([f"# {title}", *(f"::: {module}" for module in modules)])
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    pages = [page.content_string for page in files.documentation_pages()]
    for path in sorted({match[1] for page in pages for match in SOURCE_LINK.finditer(page)}):
        text = (REPOSITORY / path).read_text(encoding="utf-8")
        content = f"---\nsearch: {{exclude: true}}\n---\n# {path}\n\n````{LANGUAGES[Path(path).suffix]}\n{text}````\n"
        inclusion = InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, f"source/{path}.md", content=content, inclusion=inclusion))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links to source files to their pages."""
    return SOURCE_LINK.sub(r"](source/\1.md)", markdown)
