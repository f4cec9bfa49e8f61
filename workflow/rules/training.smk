# 8–9. The two training phases, and the operating points of both methods, chosen on validation blocks.


rule train:
    message:
        "Training {wildcards.phase}"
    input:
        blocks=training_blocks_of_all,
        validation=validation_blocks_of_all,
        weights=branch(
            lambda wildcards: wildcards.phase == "phase_2",
            then=start,
            otherwise=[],
        ),
    output:
        model=f"{results}/model/{{phase}}.safetensors",
        description=f"{results}/model/{{phase}}.json",
        history=f"{results}/model/{{phase}}.csv",
        curves=report(
            f"{results}/model/{{phase}}.png",
            caption="../report/training.rst",
            category="Training",
            labels={"picture": "loss, {phase}"},
        ),
        examples=report(
            f"{results}/model/{{phase}}_examples.png",
            caption="../report/examples.rst",
            category="Training",
            labels={"picture": "examples, {phase}"},
        ),
    params:
        parameters=phase_parameters,
    log:
        f"{results}/logs/train/{{phase}}.log",
    benchmark:
        f"{results}/benchmarks/train/{{phase}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 16
    resources:
        mem_mb=2500 + 2000 * settings.training.processes,
        runtime=24 * 60,
    shell:
        f"{training_launcher} ulmpipe train"
        " --parameters {params.parameters:q} --threads {threads} --memory-mb {resources.mem_mb}"
        " --blocks {input.blocks} --validation {input.validation} $([ -z '{input.weights}' ] || echo --weights {input.weights})"
        f" --checkpoints {results}/checkpoints"
        " --model {output.model} --description {output.description}"
        " --history {output.history} --curves {output.curves} --examples {output.examples}"
        f" --so-far {results}/logs/train/{{wildcards.phase}}.png"
        " 2>&1 | tee -i {log}"


rule operating_points:
    message:
        "Thresholds of network and expert, chosen on validation blocks"
    input:
        validation=validation_blocks_of_all,
        point_spread=f"{results}/point_spread.zarr",
        model=f"{results}/model/phase_2.safetensors",
    output:
        operating_points=f"{results}/model/operating_points.json",
        picture=report(
            f"{results}/model/operating_points.png",
            caption="../report/operating_points.rst",
            category="Training",
            labels={"picture": "thresholds"},
        ),
        block_picture=report(
            f"{results}/model/validation_block.png",
            caption="../report/validation_block.rst",
            category="Training",
            labels={"picture": "a validation block"},
        ),
    params:
        parameters=given(
            "operating_points",
            "network",
            "inference",
            "evaluation",
            "tracking",
            sequence={"frame_rate": settings.sequence.frame_rate},
            correlation={"regularization": settings.correlation.regularization},
            targets={"upsampling": settings.targets.upsampling},
        ),
    log:
        f"{results}/logs/operating_points.log",
    benchmark:
        f"{results}/benchmarks/operating_points.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 16
    resources:
        mem_mb=3000,
        runtime=60,
    shell:
        "python -m ulmpipe operating_points --parameters {params.parameters:q} --threads {threads} --memory-mb {resources.mem_mb}"
        " --validation {input.validation} --point-spread {input.point_spread} --model {input.model}"
        " --operating-points {output.operating_points}"
        " --picture {output.picture} --block-picture {output.block_picture} 2>&1 | tee -i {log}"


# for other runs to take instead of training: no other rule asks for it
rule pack_model:
    message:
        "The trained network as a folder"
    input:
        models=[
            f"{results}/model/phase_2.safetensors",
            *([f"{results}/model/velocity.safetensors"] if settings.velocity.packed else []),
        ],
        operating_points=f"{results}/model/operating_points.json",
    output:
        folder=directory(f"{results}/model/packed"),
    params:
        parameters=given("pack_model", "network", made_for={name: without(name, "scale_window", "scored") for name in MADE_FOR}),
    log:
        f"{results}/logs/pack_model.log",
    benchmark:
        f"{results}/benchmarks/pack_model.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    shell:
        "python -m ulmpipe pack_model --parameters {params.parameters:q} --threads {threads}"
        " --models {input.models} --operating-points {input.operating_points} --folder {output.folder} 2>&1 | tee -i {log}"
