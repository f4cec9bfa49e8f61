# 3–7. Training set: simulate, beamform, filter and correlate blocks of the training volumes, in memory, shard by shard.


rule point_spread:
    message:
        "Point spread function of probe and sequence"
    output:
        point_spread=directory(f"{results}/point_spread.zarr"),
    params:
        parameters=given("point_spread", "probe", "sequence", "medium", "beamforming", "correlation"),
    log:
        f"{results}/logs/point_spread.log",
    benchmark:
        f"{results}/benchmarks/point_spread.tsv"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    shell:
        "python -m ulmpipe point_spread --parameters {params.parameters:q} --threads {threads}"
        " --point-spread {output.point_spread} 2>&1 | tee {log}"


def shard_blocks(shard):
    """First block and number of blocks of a shard; the validation blocks follow the training blocks."""
    blocks = settings.training_set
    if shard == "validation":
        return blocks.blocks_per_volume, blocks.validation_blocks_per_volume
    first = int(shard) * blocks.blocks_per_shard
    return first, min(blocks.blocks_per_shard, blocks.blocks_per_volume - first)


def training_shards(volume):
    n_shards = math.ceil(settings.training_set.blocks_per_volume / settings.training_set.blocks_per_shard)
    return [f"{results}/training/{volume}/{shard:03d}.zarr" for shard in range(n_shards)]


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
            "correlation",
            "clutter_filter",
            "tissue",
            "targets",
            training_set={
                key: value for key, value in sections["training_set"].items() if not key.startswith("blocks_per_s")
            },
            name=wildcards.volume,
            side=settings.volumes.cube * settings.volumes.dilation,
            validation=wildcards.shard == "validation",
            first_block=shard_blocks(wildcards.shard)[0],
            n_blocks=shard_blocks(wildcards.shard)[1],
        ),
    log:
        f"{results}/logs/training_blocks/{{volume}}_{{shard}}.log",
    benchmark:
        f"{results}/benchmarks/training_blocks/{{volume}}_{{shard}}.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
    shell:
        "python -m ulmpipe training_blocks --parameters {params.parameters:q} --threads {threads}"
        " --trajectories {input.trajectories} --point-spread {input.point_spread}"
        " --blocks {output.blocks} 2>&1 | tee {log}"
