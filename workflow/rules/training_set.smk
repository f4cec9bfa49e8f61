# 3–7. Training set: simulate, beamform and filter blocks of the training volumes, in memory, shard by shard.


rule point_spread:
    message:
        "Point spread function of probe and sequence {wildcards.own}"
    output:
        point_spread=directory(f"{results}/point_spread{{own}}.zarr"),
    params:
        parameters=point_spread_parameters,
    log:
        f"{results}/logs/point_spread{{own}}.log",
    benchmark:
        f"{results}/benchmarks/point_spread{{own}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    shell:
        "python -m ulmpipe point_spread --parameters {params.parameters:q} --threads {threads}"
        " --point-spread {output.point_spread} 2>&1 | tee -i {log}"


rule training_blocks:
    message:
        "Training blocks of {wildcards.volume}, shard {wildcards.shard}"
    input:
        trajectories=f"{results}/trajectories/{{volume}}.zarr",
        point_spread=f"{results}/point_spread.zarr",
    output:
        blocks=directory(f"{results}/training/{{volume}}/{{shard}}.zarr"),
    params:
        parameters=lambda wildcards: given(
            "training_blocks",
            "seed",
            "probe",
            "sequence",
            "medium",
            "noise",
            "beamforming",
            "clutter_filter",
            "tissue",
            targets=without("targets", "dilation_radius"),
            bubbles=bubble_sizes(),
            training_set=training_set_of(wildcards.shard),
            name=wildcards.volume,
            side=settings.volumes.cube * settings.volumes.dilation,
            validation=wildcards.shard == "validation",
            maps=maps_for("network", side=settings.training_set.window),
            first_block=shard_blocks(wildcards.shard)[0],
            n_blocks=shard_blocks(wildcards.shard)[1],
        ),
    log:
        f"{results}/logs/training_blocks/{{volume}}_{{shard}}.log",
    benchmark:
        f"{results}/benchmarks/training_blocks/{{volume}}_{{shard}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
    shell:
        "python -m ulmpipe training_blocks --parameters {params.parameters:q} --threads {threads}"
        " --trajectories {input.trajectories} --point-spread {input.point_spread}"
        " --blocks {output.blocks} 2>&1 | tee -i {log}"
