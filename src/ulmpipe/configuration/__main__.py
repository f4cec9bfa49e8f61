"""``python -m ulmpipe.configuration``: write the schema and the page of documentation anew."""

from ulmpipe.configuration.reference import generated_files

for path, text in generated_files().items():
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    print(path)
