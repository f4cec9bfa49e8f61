# 12. Scores against the phantom's ground truth, and the picture a person opens first.


rule score:
    wildcard_constraints:
        acquisition=one_of(settings.phantoms),
    message:
        "Scores of {wildcards.acquisition}"
    input:
        network=f"{results}/detections/{{acquisition}}_network.zarr",
        expert=f"{results}/detections/{{acquisition}}_expert.zarr",
        ground_truth=f"{results}/ground_truth/{{acquisition}}.zarr",
        shifts=f"{results}/registration/{{acquisition}}.json",
        operating_points=operating_points,
    output:
        scores=f"{results}/scores_{{acquisition}}.json",
        table=report(
            f"{results}/scores_{{acquisition}}.csv",
            caption="../report/scores.rst",
            category="Angiograms",
            labels={"acquisition": "{acquisition}, scores"},
        ),
    params:
        parameters=lambda wildcards: given(
            "score",
            "evaluation",
            beamforming={"pixel": settings.beamforming.pixel},
            targets={"upsampling": settings.targets.upsampling},
            concentration_per_mm3=settings.acquisitions[wildcards.acquisition].concentration_per_mm3,
        ),
    log:
        f"{results}/logs/score/{{acquisition}}.log",
    benchmark:
        f"{results}/benchmarks/score/{{acquisition}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
    shell:
        "python -m ulmpipe score --parameters {params.parameters:q} --threads {threads}"
        " --network {input.network} --expert {input.expert} --ground-truth {input.ground_truth} --shifts {input.shifts}"
        " --operating-points {input.operating_points} --scores {output.scores} --table {output.table} 2>&1 | tee -i {log}"


rule render:
    message:
        "Picture of {wildcards.acquisition}"
    input:
        angiogram=f"{results}/angio_{{acquisition}}.zarr",
        shifts=f"{results}/registration/{{acquisition}}.json",
        ground_truth=of_phantom(f"{results}/ground_truth/{{acquisition}}.zarr"),
        scores=of_phantom(f"{results}/scores_{{acquisition}}.json"),
    output:
        picture=report(
            f"{results}/angio_{{acquisition}}.png",
            caption="../report/angiogram.rst",
            category="Angiograms",
            labels={"acquisition": "{acquisition}"},
        ),
        drift=report(
            f"{results}/registration/{{acquisition}}.png",
            caption="../report/drift.rst",
            category="Angiograms",
            labels={"acquisition": "{acquisition}, drift"},
        ),
    params:
        parameters=lambda wildcards: given(
            "render",
            "figure",
            name=wildcards.acquisition,
            acquisition=sections["acquisitions"][wildcards.acquisition],
        ),
    log:
        f"{results}/logs/render/{{acquisition}}.log",
    benchmark:
        f"{results}/benchmarks/render/{{acquisition}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
    shell:
        "python -m ulmpipe render --parameters {params.parameters:q} --threads {threads}"
        " --angiogram {input.angiogram} --shifts {input.shifts}"
        " $([ -z '{input.scores}' ] || echo --ground-truth {input.ground_truth} --scores {input.scores})"
        " --picture {output.picture} --drift {output.drift} 2>&1 | tee -i {log}"
