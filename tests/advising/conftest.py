"""What is chosen by a search over C is not what these tests are about."""

from tests.helpers import searches

few_cs, one_trial = searches.few_cs, searches.one_trial
