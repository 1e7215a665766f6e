"""The field's scores of transferability, one file each; every result has a `value` and `float(result)` gives it."""

from transferability.scores._info import ScoreInfo as ScoreInfo
from transferability.scores._info import ScoreInputs as ScoreInputs
from transferability.scores._result import IterativeResult as IterativeResult
from transferability.scores._result import ScoreResult as ScoreResult
from transferability.scores.emms import EmmsResult as EmmsResult
from transferability.scores.emms import emms as emms
from transferability.scores.energy import EnergyResult as EnergyResult
from transferability.scores.energy import energy as energy
from transferability.scores.energy import etran as etran
from transferability.scores.gbc import GbcResult as GbcResult
from transferability.scores.gbc import gbc as gbc
from transferability.scores.hscore import HScoreResult as HScoreResult
from transferability.scores.hscore import h_score as h_score
from transferability.scores.hscore import h_score_from_moments as h_score_from_moments
from transferability.scores.knn import KnnResult as KnnResult
from transferability.scores.knn import knn as knn
from transferability.scores.lda import LdaResult as LdaResult
from transferability.scores.lda import lda as lda
from transferability.scores.leep import LeepResult as LeepResult
from transferability.scores.leep import leep as leep
from transferability.scores.linear_probe import LinearProbeResult as LinearProbeResult
from transferability.scores.linear_probe import linear_probe as linear_probe
from transferability.scores.logme import LogMEResult as LogMEResult
from transferability.scores.logme import logme as logme
from transferability.scores.logme import logme_from_moments as logme_from_moments
from transferability.scores.n_leep import NLeepResult as NLeepResult
from transferability.scores.n_leep import n_leep as n_leep
from transferability.scores.nce import NceResult as NceResult
from transferability.scores.nce import nce as nce
from transferability.scores.ncti import NctiResult as NctiResult
from transferability.scores.ncti import ncti as ncti
from transferability.scores.ncti import ncti_over_encoders as ncti_over_encoders
from transferability.scores.otce import OtceResult as OtceResult
from transferability.scores.otce import OtNceResult as OtNceResult
from transferability.scores.otce import ot_nce as ot_nce
from transferability.scores.otce import otce as otce
from transferability.scores.pactran import PactranDirichletResult as PactranDirichletResult
from transferability.scores.pactran import PactranGammaResult as PactranGammaResult
from transferability.scores.pactran import PactranGaussianResult as PactranGaussianResult
from transferability.scores.pactran import PactranResult as PactranResult
from transferability.scores.pactran import pactran as pactran
from transferability.scores.parc import ParcResult as ParcResult
from transferability.scores.parc import parc as parc
from transferability.scores.probing import ProbeResult as ProbeResult
from transferability.scores.probing import cross_fitted_probe as cross_fitted_probe
from transferability.scores.probing import probe as probe
from transferability.scores.registry import available as available
from transferability.scores.registry import compute as compute
from transferability.scores.registry import compute_many as compute_many
from transferability.scores.ridge_all_layers import RidgeAllLayersResult as RidgeAllLayersResult
from transferability.scores.ridge_all_layers import ridge_all_layers as ridge_all_layers
from transferability.scores.sfda import SfdaResult as SfdaResult
from transferability.scores.sfda import sfda as sfda
from transferability.scores.size import SizeResult as SizeResult
from transferability.scores.size import size as size
from transferability.scores.transrate import TransRateResult as TransRateResult
from transferability.scores.transrate import transrate as transrate

__all__ = [
    "EmmsResult",
    "EnergyResult",
    "GbcResult",
    "HScoreResult",
    "IterativeResult",
    "KnnResult",
    "LdaResult",
    "LeepResult",
    "LinearProbeResult",
    "LogMEResult",
    "NLeepResult",
    "NceResult",
    "NctiResult",
    "OtNceResult",
    "OtceResult",
    "PactranDirichletResult",
    "PactranGammaResult",
    "PactranGaussianResult",
    "PactranResult",
    "ParcResult",
    "ProbeResult",
    "RidgeAllLayersResult",
    "ScoreInfo",
    "ScoreInputs",
    "ScoreResult",
    "SfdaResult",
    "SizeResult",
    "TransRateResult",
    "available",
    "compute",
    "compute_many",
    "cross_fitted_probe",
    "emms",
    "energy",
    "etran",
    "gbc",
    "h_score",
    "h_score_from_moments",
    "knn",
    "lda",
    "leep",
    "linear_probe",
    "logme",
    "logme_from_moments",
    "n_leep",
    "nce",
    "ncti",
    "ncti_over_encoders",
    "ot_nce",
    "otce",
    "pactran",
    "parc",
    "probe",
    "ridge_all_layers",
    "sfda",
    "size",
    "transrate",
]
