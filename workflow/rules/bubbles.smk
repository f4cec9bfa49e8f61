# 2. Bubbles: the flow in a graph and the trajectories of bubbles carried by it.


rule trajectories:
    message:
        "Bubble trajectories of {wildcards.bubbles}"
    input:
        graph=lambda wildcards: f"{results}/graphs/{bubble_volume(wildcards.bubbles)}.h5",
    output:
        trajectories=directory(f"{results}/trajectories/{{bubbles}}.zarr"),
        film=report(
            f"{results}/trajectories/{{bubbles}}.gif",
            caption="../report/film.rst",
            category="Vessels",
            labels={"volume": "{bubbles}, bubbles"},
        ),
    params:
        parameters=lambda wildcards: given(
            "trajectories",
            "seed",
            "flow",
            "sequence",
            name=bubble_volume(wildcards.bubbles),
            n_blocks=n_bubble_blocks(wildcards.bubbles),
            concentration_per_mm3=largest_concentration(wildcards.bubbles),
            side=settings.volumes.cube * settings.volumes.dilation,
        ),
    log:
        f"{results}/logs/trajectories/{{bubbles}}.log",
    benchmark:
        f"{results}/benchmarks/trajectories/{{bubbles}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
    shell:
        "python -m ulmpipe trajectories --parameters {params.parameters:q} --threads {threads}"
        " --graph {input.graph} --trajectories {output.trajectories} --film {output.film} 2>&1 | tee -i {log}"


# for people and their viewers: no other rule asks for it
rule bubble_table:
    message:
        "Table of the bubbles of {wildcards.bubbles}"
    input:
        trajectories=f"{results}/trajectories/{{bubbles}}.zarr",
    output:
        table=f"{results}/trajectories/{{bubbles}}.csv",
    params:
        parameters=given("bubble_table", "sequence"),
    log:
        f"{results}/logs/bubble_table/{{bubbles}}.log",
    benchmark:
        f"{results}/benchmarks/bubble_table/{{bubbles}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    shell:
        "python -m ulmpipe bubble_table --parameters {params.parameters:q} --threads {threads}"
        " --trajectories {input.trajectories} --table {output.table} 2>&1 | tee -i {log}"
