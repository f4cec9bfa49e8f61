# 2. Bubbles: the flow in a graph and the trajectories of bubbles carried by it.


rule trajectories:
    message:
        "Bubble trajectories in {wildcards.volume}"
    input:
        graph=f"{results}/graphs/{{volume}}.h5",
    output:
        trajectories=directory(f"{results}/trajectories/{{volume}}.zarr"),
    params:
        parameters=lambda wildcards: given(
            "trajectories",
            "seed",
            "flow",
            "sequence",
            name=wildcards.volume,
            n_blocks=n_volume_blocks(wildcards.volume),
            concentration_per_mm3=volume_concentration(wildcards.volume),
            side=settings.volumes.cube * settings.volumes.dilation,
        ),
    log:
        f"{results}/logs/trajectories/{{volume}}.log",
    benchmark:
        f"{results}/benchmarks/trajectories/{{volume}}.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
    shell:
        "python -m ulmpipe trajectories --parameters {params.parameters:q} --threads {threads}"
        " --graph {input.graph} --trajectories {output.trajectories} 2>&1 | tee {log}"
