"""What a synthetic cortex should look like, in figures an anatomist would give."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CortexStatistics:
    """What a synthetic cortex looks like, at its native scale.

    Attributes
    ----------
    cell_size : float
        Mean distance between the centres of the tissue cells whose edges are capillaries, metres. Sets the
        length density, which falls with its square.
    missing_capillaries : float
        Share of the cells' edges that are left out at random; the rest join into longer branches.
    individual_spread : float
        Standard deviation of the logarithm of cell size and capillary diameter from one network to the next;
        twice that of the tortuosity.
    capillary_diameter, capillary_diameter_spread : float
        Median, metres, and standard deviation of the logarithm of the diameter from capillary to capillary.
    arteriole_density, venule_density : float
        Penetrating vessels per square metre of cortical surface (at least one of each is made).
    trunk_diameter : (float, float)
        Range of the diameter of penetrating vessels at the surface, metres.
    trunk_tilt : float
        Standard deviation of the slope of penetrating vessels along x and along y.
    shallow_depth : (float, float)
        Range of the depth of those that end inside, as a fraction of the whole; every other one goes on.
    feeding_density : float
        Places per cubic metre where an arterial tree ends in the mesh, and as many where a venous one does.
    side_branch_diameter : (float, float)
        Range of the diameter with which side branches of penetrating vessels leave the cube, metres.
    side_branches : int
        Their number for each penetrating vessel.
    side_branch_spacing : float
        Distance between the places where branches may leave a penetrating vessel, metres.
    tortuosity, tortuosity_length : float
        Root-mean-square sideways displacement of capillaries and the distance over which it varies, metres.
    node_spacing : float
        Greatest distance between nodes, metres.
    """

    cell_size: float = 59e-6
    missing_capillaries: float = 0.55
    individual_spread: float = 0.07
    capillary_diameter: float = 5.6e-6
    capillary_diameter_spread: float = 0.18
    arteriole_density: float = 10e6
    venule_density: float = 14e6
    trunk_diameter: tuple[float, float] = (20e-6, 48e-6)
    trunk_tilt: float = 0.12
    shallow_depth: tuple[float, float] = (0.5, 0.8)
    feeding_density: float = 700e9
    side_branch_diameter: tuple[float, float] = (8e-6, 18e-6)
    side_branches: int = 3
    side_branch_spacing: float = 50e-6
    tortuosity: float = 6e-6
    tortuosity_length: float = 20e-6
    node_spacing: float = 5e-6
