# Velocities that the network sees on its tracks: targets, training, maps and errors against truth; only if asked for.


rule velocity_targets:
    message:
        "Velocities in the training blocks of {wildcards.volume}, shard {wildcards.shard}"
    input:
        trajectories=f"{results}/trajectories/{{volume}}.zarr",
    output:
        velocities=directory(f"{results}/training/{{volume}}/{{shard}}_velocity.zarr"),
    params:
        parameters=lambda wildcards: given(
            "velocity_targets",
            "seed",
            "probe",
            "sequence",
            "medium",
            tissue={key: sections["tissue"][key] for key in ("motion_amplitude", "motion_frequency")},
            beamforming={"pixel": settings.beamforming.pixel},
            targets=without("targets", "dilation_radius"),
            training_set=training_set_of(wildcards.shard),
            name=wildcards.volume,
            side=settings.volumes.cube * settings.volumes.dilation,
            validation=wildcards.shard == "validation",
            first_block=shard_blocks(wildcards.shard)[0],
            n_blocks=shard_blocks(wildcards.shard)[1],
        ),
    log:
        f"{results}/logs/velocity_targets/{{volume}}_{{shard}}.log",
    benchmark:
        f"{results}/benchmarks/velocity_targets/{{volume}}_{{shard}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    shell:
        "python -m ulmpipe velocity_targets --parameters {params.parameters:q} --threads {threads}"
        " --trajectories {input.trajectories} --velocities {output.velocities} 2>&1 | tee -i {log}"


rule train_velocity:
    message:
        "Training of velocities"
    input:
        blocks=training_blocks_of_all,
        velocities=velocities_of(training_blocks_of_all),
        validation=validation_blocks_of_all,
        validation_velocities=velocities_of(validation_blocks_of_all),
        weights=weights_with_velocities,
    output:
        model=f"{results}/model/velocity.safetensors",
        description=f"{results}/model/velocity.json",
        history=f"{results}/model/velocity.csv",
        curves=report(
            f"{results}/model/velocity.png",
            caption="../report/velocity_training.rst",
            category="Training",
            labels={"picture": "loss, velocities"},
        ),
    params:
        parameters=given(
            "train_velocity",
            "seed",
            "network",
            velocity=without("velocity", "packed"),
            augmentation=sections["training"]["augmentation"],
        ),
    log:
        f"{results}/logs/train_velocity.log",
    benchmark:
        f"{results}/benchmarks/train_velocity.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 16
    resources:
        mem_mb=4000,
        runtime=24 * 60,
    shell:
        "python -m ulmpipe train_velocity --parameters {params.parameters:q} --threads {threads} --memory-mb {resources.mem_mb}"
        " --blocks {input.blocks} --velocities {input.velocities} --validation {input.validation}"
        " --validation-velocities {input.validation_velocities} --weights {input.weights}"
        f" --checkpoints {results}/checkpoints"
        " --model {output.model} --description {output.description}"
        " --history {output.history} --curves {output.curves}"
        f" --so-far {results}/logs/train_velocity.png 2>&1 | tee -i {{log}}"


rule infer_velocity:
    message:
        "Velocities over the field of {wildcards.acquisition}"
    input:
        correlation=f"{results}/correlation/{{acquisition}}.zarr",
        model=velocity_weights,
    output:
        velocities=directory(f"{results}/detections/{{acquisition}}_velocity.zarr"),
    params:
        parameters=given(
            "infer_velocity",
            "network",
            "inference",
            targets={"upsampling": settings.targets.upsampling},
            trained_frames=velocity_trained_frames,
        ),
    log:
        f"{results}/logs/infer_velocity/{{acquisition}}.log",
    benchmark:
        f"{results}/benchmarks/infer_velocity/{{acquisition}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 16
    resources:
        mem_mb=4000,
        runtime=240,
    shell:
        "python -m ulmpipe infer_velocity --parameters {params.parameters:q} --threads {threads} --memory-mb {resources.mem_mb}"
        " --correlation {input.correlation} --model {input.model} --velocities {output.velocities} 2>&1 | tee -i {log}"


rule velocity_maps:
    message:
        "Maps of the network's velocities in {wildcards.acquisition}"
    input:
        network=f"{results}/detections/{{acquisition}}_network.zarr",
        velocities=f"{results}/detections/{{acquisition}}_velocity.zarr",
        shifts=f"{results}/registration/{{acquisition}}.json",
        operating_points=operating_points,
    output:
        maps=directory(f"{results}/velocity/{{acquisition}}.zarr"),
        speed=report(
            f"{results}/velocity/{{acquisition}}_speed.png",
            caption="../report/velocity.rst",
            category="Velocities",
            labels={"acquisition": "{acquisition}, speed"},
        ),
        direction=report(
            f"{results}/velocity/{{acquisition}}_direction.png",
            caption="../report/velocity.rst",
            category="Velocities",
            labels={"acquisition": "{acquisition}, direction"},
        ),
    params:
        parameters=lambda wildcards: given(
            "velocity_maps",
            "figure",
            name=wildcards.acquisition,
            targets={"upsampling": settings.targets.upsampling},
            concentration_per_mm3=settings.acquisitions[wildcards.acquisition].concentration_per_mm3,
        ),
    log:
        f"{results}/logs/velocity_maps/{{acquisition}}.log",
    benchmark:
        f"{results}/benchmarks/velocity_maps/{{acquisition}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    shell:
        "python -m ulmpipe velocity_maps --parameters {params.parameters:q} --threads {threads}"
        " --network {input.network} --velocities {input.velocities} --shifts {input.shifts}"
        " --operating-points {input.operating_points} --maps {output.maps}"
        " --speed {output.speed} --direction {output.direction} 2>&1 | tee -i {log}"


rule velocity_truth:
    wildcard_constraints:
        acquisition=one_of(settings.phantoms),
    message:
        "True velocities in {wildcards.acquisition}"
    input:
        trajectories=f"{results}/trajectories/{settings.volumes.test}_{{acquisition}}.zarr",
    output:
        velocities=directory(f"{results}/ground_truth/{{acquisition}}_velocity.zarr"),
    params:
        parameters=lambda wildcards: acquisition_given(
            "velocity_truth",
            wildcards,
            "probe",
            "medium",
            targets=without("targets", "dilation_radius"),
            tissue={key: sections["tissue"][key] for key in ("motion_amplitude", "motion_frequency")},
            motion={"within_blocks": settings.motion.within_blocks},
            beamforming={"pixel": settings.beamforming.pixel},
        ),
    log:
        f"{results}/logs/velocity_truth/{{acquisition}}.log",
    benchmark:
        f"{results}/benchmarks/velocity_truth/{{acquisition}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
    shell:
        "python -m ulmpipe velocity_truth --parameters {params.parameters:q} --threads {threads}"
        " --trajectories {input.trajectories} --velocities {output.velocities} 2>&1 | tee -i {log}"


rule score_velocity:
    wildcard_constraints:
        acquisition=one_of(settings.phantoms),
    message:
        "Errors of the velocities in {wildcards.acquisition}"
    input:
        network=f"{results}/detections/{{acquisition}}_network.zarr",
        velocities=f"{results}/detections/{{acquisition}}_velocity.zarr",
        tracks=f"{results}/tracks/{{acquisition}}.h5",
        ground_truth=f"{results}/ground_truth/{{acquisition}}.zarr",
        true_velocities=f"{results}/ground_truth/{{acquisition}}_velocity.zarr",
        shifts=f"{results}/registration/{{acquisition}}.json",
        operating_points=operating_points,
    output:
        scores=f"{results}/velocity/{{acquisition}}_scores.json",
        table=report(
            f"{results}/velocity/{{acquisition}}_scores.csv",
            caption="../report/velocity_scores.rst",
            category="Velocities",
            labels={"acquisition": "{acquisition}, errors"},
        ),
    params:
        parameters=lambda wildcards: given(
            "score_velocity",
            "classes",
            "evaluation",
            targets={"upsampling": settings.targets.upsampling},
            concentration_per_mm3=settings.acquisitions[wildcards.acquisition].concentration_per_mm3,
        ),
    log:
        f"{results}/logs/score_velocity/{{acquisition}}.log",
    benchmark:
        f"{results}/benchmarks/score_velocity/{{acquisition}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    shell:
        "python -m ulmpipe score_velocity --parameters {params.parameters:q} --threads {threads}"
        " --network {input.network} --velocities {input.velocities} --tracks {input.tracks}"
        " --ground-truth {input.ground_truth} --true-velocities {input.true_velocities} --shifts {input.shifts}"
        " --operating-points {input.operating_points} --scores {output.scores} --table {output.table} 2>&1 | tee -i {log}"
