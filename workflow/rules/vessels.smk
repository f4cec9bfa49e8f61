# 1. Vessel graphs: synthetic or a file, cut to a cube and dilated to rat scale.


rule vessel_graph:
    # seconds of work; as a job of a cluster it would lose what `update` is to keep
    localrule: True
    message:
        "Vessel graph {wildcards.volume}"
    input:
        file=graph_file,
    output:
        # update: a faulty file of the user's leaves the outputs of the last good one in place
        graph=update(f"{results}/graphs/{{volume}}.h5"),
        morphometry=update(f"{results}/graphs/{{volume}}.json"),
        picture=report(
            update(f"{results}/graphs/{{volume}}.png"),
            caption="../report/graph.rst",
            category="Vessels",
            labels={"volume": "{volume}"},
        ),
    params:
        parameters=lambda wildcards: given(
            "vessel_graph",
            "seed",
            name=wildcards.volume,
            graph=sections["graphs"][wildcards.volume],
            cleaning=sections["cleaning"] if graph_file(wildcards) else None,
            cube=settings.volumes.cube,
            dilation=settings.volumes.dilation,
        ),
    log:
        f"{results}/logs/vessel_graph/{{volume}}.log",
    benchmark:
        f"{results}/benchmarks/vessel_graph/{{volume}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    shell:
        "python -m ulmpipe vessel_graph --parameters {params.parameters:q} --threads {threads}"
        " --graph {output.graph} --morphometry {output.morphometry} --picture {output.picture} 2>&1 | tee -i {log}"
