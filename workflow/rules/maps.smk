# 13, 14. The expert's bubbles as tracks, maps of their speed, direction and flux, and measures; only if asked for.


rule track:
    message:
        "Tracks of {wildcards.acquisition}"
    input:
        correlation=f"{results}/correlation/{{acquisition}}.zarr",
        shifts=f"{results}/registration/{{acquisition}}.json",
        operating_points=operating_points,
    output:
        tracks=f"{results}/tracks/{{acquisition}}.h5",
    params:
        parameters=lambda wildcards: given(
            "track",
            tracking=without("tracking", "scored"),
            sequence={"frame_rate": sequence_of(wildcards.acquisition)["frame_rate"]},
            targets={"upsampling": settings.targets.upsampling},
            concentration_per_mm3=settings.acquisitions[wildcards.acquisition].concentration_per_mm3,
        ),
    log:
        f"{results}/logs/track/{{acquisition}}.log",
    benchmark:
        f"{results}/benchmarks/track/{{acquisition}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    shell:
        "python -m ulmpipe track --parameters {params.parameters:q} --threads {threads}"
        " --correlation {input.correlation} --shifts {input.shifts} --operating-points {input.operating_points}"
        " --tracks {output.tracks} 2>&1 | tee -i {log}"


rule track_table:
    message:
        "Table of the tracks of {wildcards.acquisition}"
    input:
        tracks=f"{results}/tracks/{{acquisition}}.h5",
    output:
        table=f"{results}/tracks/{{acquisition}}.csv",
    params:
        parameters=given("track_table"),
    log:
        f"{results}/logs/track_table/{{acquisition}}.log",
    benchmark:
        f"{results}/benchmarks/track_table/{{acquisition}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    shell:
        "python -m ulmpipe track_table --parameters {params.parameters:q} --threads {threads}"
        " --tracks {input.tracks} --table {output.table} 2>&1 | tee -i {log}"


rule track_maps:
    message:
        "Maps of the tracks of {wildcards.acquisition}"
    input:
        tracks=f"{results}/tracks/{{acquisition}}.h5",
        correlation=f"{results}/correlation/{{acquisition}}.zarr",
    output:
        maps=directory(f"{results}/maps/{{acquisition}}.zarr"),
        density=report(
            f"{results}/maps/{{acquisition}}_density.png",
            caption="../report/track_maps.rst",
            category="Tracks",
            labels={"acquisition": "{acquisition}, tracks"},
        ),
        speed=report(
            f"{results}/maps/{{acquisition}}_speed.png",
            caption="../report/track_maps.rst",
            category="Tracks",
            labels={"acquisition": "{acquisition}, speed"},
        ),
        direction=report(
            f"{results}/maps/{{acquisition}}_direction.png",
            caption="../report/track_maps.rst",
            category="Tracks",
            labels={"acquisition": "{acquisition}, direction"},
        ),
        flux=report(
            f"{results}/maps/{{acquisition}}_flux.png",
            caption="../report/track_maps.rst",
            category="Tracks",
            labels={"acquisition": "{acquisition}, flux"},
        ),
    params:
        parameters=lambda wildcards: given("track_maps", "track_maps", "figure", name=wildcards.acquisition),
    log:
        f"{results}/logs/track_maps/{{acquisition}}.log",
    benchmark:
        f"{results}/benchmarks/track_maps/{{acquisition}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    shell:
        "python -m ulmpipe track_maps --parameters {params.parameters:q} --threads {threads}"
        " --tracks {input.tracks} --correlation {input.correlation} --maps {output.maps} --density {output.density}"
        " --speed {output.speed} --direction {output.direction} --flux {output.flux} 2>&1 | tee -i {log}"


rule measure:
    message:
        "Resolution, saturation and vessel widths of {wildcards.acquisition}"
    input:
        angiogram=f"{results}/angio_{{acquisition}}.zarr",
        network=f"{results}/detections/{{acquisition}}_network.zarr",
        expert=f"{results}/detections/{{acquisition}}_expert.zarr",
        tracks=f"{results}/tracks/{{acquisition}}.h5",
        maps=f"{results}/maps/{{acquisition}}.zarr",
        shifts=f"{results}/registration/{{acquisition}}.json",
        operating_points=operating_points,
    output:
        measures=f"{results}/measures_{{acquisition}}.json",
        resolution=report(
            f"{results}/measures/{{acquisition}}_resolution.png",
            caption="../report/measures.rst",
            category="Measures",
            labels={"acquisition": "{acquisition}, resolution"},
        ),
        saturation=report(
            f"{results}/measures/{{acquisition}}_saturation.png",
            caption="../report/measures.rst",
            category="Measures",
            labels={"acquisition": "{acquisition}, saturation"},
        ),
        widths=report(
            f"{results}/measures/{{acquisition}}_widths.png",
            caption="../report/measures.rst",
            category="Measures",
            labels={"acquisition": "{acquisition}, widths"},
        ),
        local=report(
            f"{results}/measures/{{acquisition}}_local.png",
            caption="../report/local_resolution.rst",
            category="Measures",
            labels={"acquisition": "{acquisition}, local resolution"},
        ),
    params:
        parameters=lambda wildcards: given(
            "measure",
            "seed",
            "measures",
            name=wildcards.acquisition,
            sequence={name: sequence_of(wildcards.acquisition)[name] for name in ("frame_rate", "frames_per_block")},
            targets={"upsampling": settings.targets.upsampling},
            concentration_per_mm3=settings.acquisitions[wildcards.acquisition].concentration_per_mm3,
        ),
    log:
        f"{results}/logs/measure/{{acquisition}}.log",
    benchmark:
        f"{results}/benchmarks/measure/{{acquisition}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
    shell:
        "python -m ulmpipe measure --parameters {params.parameters:q} --threads {threads}"
        " --angiogram {input.angiogram} --network {input.network} --expert {input.expert} --tracks {input.tracks}"
        " --maps {input.maps} --shifts {input.shifts} --operating-points {input.operating_points}"
        " --measures {output.measures} --resolution {output.resolution} --saturation {output.saturation}"
        " --widths {output.widths} --local {output.local} 2>&1 | tee -i {log}"


rule microscopy:
    message:
        "Angiograms of {wildcards.acquisition} for Fiji and napari"
    input:
        angiogram=f"{results}/angio_{{acquisition}}.zarr",
    output:
        tiff=f"{results}/angio_{{acquisition}}.ome.tif",
        zarr=directory(f"{results}/angio_{{acquisition}}.ome.zarr"),
    params:
        parameters=given("microscopy"),
    log:
        f"{results}/logs/microscopy/{{acquisition}}.log",
    benchmark:
        f"{results}/benchmarks/microscopy/{{acquisition}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    shell:
        "python -m ulmpipe microscopy --parameters {params.parameters:q} --threads {threads}"
        " --angiogram {input.angiogram} --tiff {output.tiff} --zarr {output.zarr} 2>&1 | tee -i {log}"


rule compare:
    message:
        "Acquisitions side by side"
    input:
        angiograms=expand(f"{results}/angio_{{acquisition}}.zarr", acquisition=compared),
        ground_truths=expand(
            f"{results}/ground_truth/{{acquisition}}.zarr",
            acquisition=compared if set(compared) <= set(settings.phantoms) else [],
        ),
        without_bubbles=expand(
            f"{results}/angio_{{acquisition}}.zarr", acquisition=filter(None, [settings.comparison.without_bubbles])
        ),
    output:
        field=report(
            f"{results}/comparison/field.png",
            caption="../report/comparison.rst",
            category="Comparison",
            labels={"figure": "whole field"},
        ),
        regions=report(
            f"{results}/comparison/regions.png",
            caption="../report/comparison.rst",
            category="Comparison",
            labels={"figure": "region"},
        ),
        profiles=report(
            f"{results}/comparison/profiles.png",
            caption="../report/comparison.rst",
            category="Comparison",
            labels={"figure": "profiles"},
        ),
    params:
        parameters=given("compare", "comparison", "figure", names=compared),
    log:
        f"{results}/logs/compare.log",
    benchmark:
        f"{results}/benchmarks/compare.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    shell:
        "python -m ulmpipe compare --parameters {params.parameters:q} --threads {threads}"
        " --angiograms {input.angiograms}"
        " $([ -z '{input.ground_truths}' ] || echo --ground-truths {input.ground_truths})"
        " $([ -z '{input.without_bubbles}' ] || echo --without-bubbles {input.without_bubbles})"
        " --field {output.field} --regions {output.regions} --profiles {output.profiles} 2>&1 | tee -i {log}"
