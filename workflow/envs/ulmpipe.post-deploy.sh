# with `snakemake --software-deployment-method conda`: the package itself, from this source tree
python -m pip install --no-deps --editable .
