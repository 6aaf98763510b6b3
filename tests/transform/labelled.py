"""Names that frameworks log, by which way is better. Those of which that may be doubted are in none of the lists."""

from __future__ import annotations

#: Framework -> names, separated by blanks (``~`` stands for a blank in a name).
LESS = {
    "scikit-learn": """
        training_log_loss training_mse training_rmse training_mae val_log_loss training_mean_squared_error
        mean_squared_error_unknown_dataset mean_absolute_error_X_test log_loss_unknown_dataset
        root_mean_squared_error-2_X_test mean_fit_time rank_test_score rank_test_f1 rank_test_neg_log_loss
        mean_score_time score_time fit_time brier_score brier_score_loss hamming_loss zero_one_loss hinge_loss
        log_loss max_error median_absolute_error mean_absolute_percentage_error mean_squared_log_error
        mean_pinball_loss mean_tweedie_deviance mean_poisson_deviance coverage_error label_ranking_loss
        davies_bouldin_score inertia false_positive_rate false_negative_rate negative_likelihood_ratio
        mean_gamma_deviance split0_fit_time refit_time test_mse MeanSquaredError training_false_positives""",
    "boosting": """
        train-rmse validation_0-logloss eval-mlogloss validation_1-merror train-error test-rmsle
        validation_0-mape train-mphe poisson-nloglik gamma-nloglik cox-nloglik gamma-deviance
        tweedie-nloglik@1.5 aft-nloglik validation_0-error@0.7 valid_0-binary_logloss valid_0-multi_logloss
        valid_1-l1 training-l2 valid_0-rmse valid_0-huber valid_0-binary_error valid_0-multi_error
        valid_0-cross_entropy valid_0-kullback_leibler valid_0-mape valid_0-gamma_deviance valid_0-poisson
        Logloss CrossEntropy MAE MAPE RMSE SMAPE MSLE MedianAbsoluteError BalancedErrorRate HammingLoss
        HingeLoss ZeroOneLoss BrierScore LogCosh FairLoss NumErrors QueryRMSE QueryCrossEntropy learn:Logloss
        validation_Logloss mlogloss merror""",
    "deep learning": """
        loss val_loss train_loss test_loss train_loss_step train_loss_epoch epoch_loss valLoss trainloss
        train/loss loss/val val/loss_epoch eval_loss binary_crossentropy val_categorical_crossentropy
        sparse_categorical_crossentropy kl_divergence mean_absolute_error val_mean_squared_error logcosh
        log_cosh squared_hinge cosine_loss bce bce_loss ce_loss cls_loss best_val_loss loss_total aux_loss
        train.loss Loss/train training:loss Validation~Loss focal_loss FocalLoss nce_loss contrastive_loss nll
        val_nll nll_loss error_rate top5_error val_err train_perplexity perplexity eval_ppl bits_per_byte bpb
        val/bpb bpc bits_per_char bits_per_dim loss_mean loss_max loss_p99 loss_per_token accuracy_loss
        f1_loss step_time epoch_time train_runtime eval_runtime data_time iter_time batch_time time_per_step
        seconds_per_step train_time training_time_seconds inference_time inference_time_ms wall_time
        elapsed_time elapsed_seconds duration_s train_seconds preprocess_ms runtime load_time cpu_time regret
        cumulative_regret forgetting generalization_gap train_val_gap sim2real_gap optimality_gap duality_gap
        mip_gap""",
    "reinforcement learning": """
        train/value_loss value_loss train/critic_loss critic_loss loss/critic
        train/loss losses/td_loss losses/qf1_loss losses/value_loss
        info/learner/default_policy/vf_loss vf_loss total_loss td_error mean_td_error
        rollout/collision_rate crash_rate episode_cost constraint_violation
        sampler_perf/mean_env_wait_ms timers/learn_time_ms cost_violations kl_loss""",
    "vision": """
        fid FID val/fid kid clean_fid lpips LPIPS val/lpips niqe brisque frechet_inception_distance
        chamfer_distance hausdorff_distance hd95 train/box_loss val/dfl_loss val/cls_loss epe abs_rel sq_rel
        mpjpe nme ade fde minADE id_switches wasserstein_distance mmd
        false_positives_per_image LearnedPerceptualImagePatchSimilarity loss_dice
        loss/iou 1-ssim loss_bbox loss_rpn_cls edit_distance test_assd rmse_log""",
    "speech and language": """
        wer WER test_wer eval/wer cer val_cer eval_per der eer EER mcd min_dcf minDCF word_error_rate
        character_error_rate diarization_error_rate ter levenshtein_distance toxicity toxicity/v1/mean
        toxicity/v1/p90 toxicity_ratio hallucination_rate hallucination harmfulness/v1/mean
        flesch_kincaid_grade_level/v1/mean ari_grade_level/v1/mean contradiction_rate jailbreak_rate
        leakage_rate self_bleu insensitivity stereotype_score profanity_rate repetition_rate
        false_acceptance_rate false_rejection_rate""",
    "serving": """
        latency latency_ms latency_seconds latency/mean latency/p90 latency.p99 p99_latency latency_p50_ms
        ttft ttft_ms mean_ttft p95_ttft_ms tpot mean_tpot_ms itl p99_itl_ms time_to_first_token
        time_per_output_token inter_token_latency request_latency_seconds response_time queue_time cost
        total_cost cost_usd cost_per_token cost_per_1k_tokens ms_per_token us_per_call error_count errors
        failed_requests num_failures timeout_errors exceptions_total rtf real_time_factor overhead slowdown
        cold_start_latency avg_latency averageLatency RequestLatency responseTimeMs s/it ms/step sec/epoch
        latency(ms) failure_rate errors_per_second error_percentage packet_loss jitter_ms e2e_latency
        predict_ms""",
    "probability and fairness": """
        ece ECE val_ece mce expected_calibration_error adaptive_ece calibration_error brier Brier
        val/brier_score miscalibration_area aic AIC bic aicc waic hqic deviance neg_log_likelihood
        negative_log_likelihood nloglik neg_elbo fpr FPR val_fpr fnr fdr fpr95 fpr_at_95_tpr
        false_discovery_rate false_alarm_rate miss_rate misclassification_rate demographic_parity_difference
        equalized_odds_difference equal_opportunity_difference integrated_brier_score ibs one_minus_auc
        1-accuracy test/1-auc drift_score js_divergence average_odds_difference fairness_gap accuracy_gap jsd""",
    "forecasting": """
        mase smape sMAPE wape WAPE wmape mdape rmsse msis owa nrmse NRMSE rrmse pinball pinball_loss
        quantile_loss crps CRPS mean_crps wQL mean_wQL interval_score winkler_score theils_u mql dtw
        forecast_error mean_absolute_scaled_error 1-step_mae mape_h7 val_mape rmse_day_3 energy_score
        absolute_deviation""",
    "business": """
        churn churn_rate customer_churn drawdown max_drawdown maxDrawdown bounce_rate attrition cac cpa cpc
        refund_rate chargeback_rate complaint_rate unsubscribe_rate cart_abandonment_rate downtime_minutes
        mttr stockout_rate emissions carbon_emissions energy_consumed cost_per_acquisition defect_rate
        incident_count operating_cost business/cost burn_rate waste_percentage""",
    "what stands around a word": """
        nps_detractors detractors deletion_auc risk_coverage_auc aurc AUSE mean_absolute_error
        mean_error_rate mean_errors error_mean test-error-mean cross_entropy_loss loss/cross_entropy
        relative_entropy_loss loss_3d val_loss_7d bbox_2d_loss gs_loss errors_not_fixed closed_lost
        mse_corrected bias_corrected_mse corrected_error err@5 skill_score_loss missing_skills
        intersection_over_union_loss lower_bound_gap slo_violations sla_breaches
        latency_slo_violation_rate failures_after_correction upper_body_error""",
    "of single fields": """
        KernelInceptionDistance SpectralAngleMapper MultiClass learn:MultiClass MultiClassOneVsAll
        valid_0-fair rae rse rmsd energy_kwh model_size_mb null_ratio""",
}

MORE = {
    "scikit-learn": """
        training_score training_accuracy_score training_f1_score training_roc_auc training_precision_score
        training_recall_score best_cv_score mean_test_score split0_test_score split4_test_score
        mean_train_score test_score accuracy balanced_accuracy top_k_accuracy average_precision f1 f1_micro
        f1_macro f1_weighted f1_samples precision_macro recall_samples jaccard jaccard_weighted roc_auc
        roc_auc_ovr roc_auc_ovo_weighted neg_brier_score neg_log_loss neg_max_error neg_mean_absolute_error
        neg_mean_squared_error neg_root_mean_squared_error neg_mean_squared_log_error
        neg_root_mean_squared_log_error neg_median_absolute_error neg_mean_poisson_deviance
        neg_mean_gamma_deviance neg_mean_absolute_percentage_error neg_negative_likelihood_ratio
        positive_likelihood_ratio mean_test_neg_log_loss explained_variance explained_variance_score r2
        r2_score d2_absolute_error_score d2_pinball_score d2_tweedie_score d2_log_loss_score d2_brier_score
        matthews_corrcoef adjusted_mutual_info_score adjusted_rand_score completeness_score
        fowlkes_mallows_score homogeneity_score mutual_info_score normalized_mutual_info_score rand_score
        v_measure_score silhouette_score calinski_harabasz_score cohen_kappa_score dcg_score ndcg_score
        label_ranking_average_precision_score LogisticRegression_score_X_test accuracy_score_unknown_dataset
        roc_auc_score-2_X_test fbeta_score neg_mean_squared_error_mean test_neg_mean_absolute_error""",
    "boosting": """
        train-auc validation_0-aucpr eval-ndcg@10 eval-map@5 validation_0-pre@5 interval-regression-accuracy
        valid_0-auc valid_1-auc valid_0-average_precision valid_0-auc_mu valid_0-ndcg_at_3 valid_0-map@5
        Accuracy BalancedAccuracy Kappa WKappa R2 NDCG DCG FilteredDCG AverageGain PrecisionAt RecallAt MAP
        MRR AUC QueryAUC NormalizedGini MCC F1 TotalF1 Precision Recall PFound PairAccuracy maucpr""",
    "deep learning": """
        acc val_acc train_acc test_acc valAcc testF1 valacc accuracy/val Accuracy/train binary_accuracy
        sparse_categorical_accuracy top_k_categorical_accuracy sparse_top_k_categorical_accuracy top5_acc
        top_5_accuracy acc@1 Acc@5 top1 val_top5 cosine_similarity mean_io_u binary_io_u precision_at_recall
        sensitivity_at_specificity multiclass_f1 MulticlassAccuracy BinaryF1Score MulticlassJaccardIndex auroc
        AUROC val_auroc BinaryAUROC auprc matthews_corr_coef specificity sensitivity train_samples_per_second
        train_steps_per_second eval_samples_per_second tokens_per_second tokens/s samples/sec it/s
        images_per_sec Throughput(tokens/s) tok/s steps_per_second fps FPS throughput
        throughput_tokens_per_sec examples_per_second speedup val/R2 r_squared adj_r2 pearson pearsonr
        spearman spearmanr spearman_rho kendall_tau kendalltau concordance_correlation pearson_corrcoef
        explained_var elbo log_likelihood log_marginal_likelihood val_f1_best accuracy_class_0 f1/positive
        recall@5 backward_transfer epochs_per_hour r2Score tokensPerSecond""",
    "reinforcement learning": """
        rollout/ep_rew_mean ep_rew_mean eval/mean_reward rollout/success_rate time/fps
        train/explained_variance episode_reward_mean episode_reward_max env_runners/episode_return_mean
        vf_explained_var charts/episodic_return charts/SPS losses/explained_variance
        rewards/format_reward_func/mean reward rewards/accuracies objective/rlhf_reward objective/scores
        objective/non_score_reward mean_token_accuracy eval_rewards/margins win_rate winrate normalized_score
        episodic_return cumulative_reward goal_success_rate solved_rate 1-day_return timers/load_throughput
        policy_reward_mean/default policy_reward_max""",
    "ranking": """
        ndcg@10 ndcg_at_10 ndcg.10 map@k map_at_100 hit_rate hit_rate@10 hits@10 hr@10 HR@5 mrr mrr@10
        recall_at_20 precision@1 mean_reciprocal_rank mean_average_precision expected_reciprocal_rank
        catalog_coverage r@1 R@5 p@5 dcg rank-1_accuracy""",
    "vision": """
        iou mIoU miou mean_iou val/iou dice dice_coefficient dice_coef dice_score mDice mAP mAP50 mAP50-95
        metrics/mAP50(B) metrics/mAP50-95(B) metrics/precision(B) metrics/recall(M) mAP@0.5:0.95 bbox_mAP
        segm_mAP_50 coco/bbox_mAP_s AP50 bbox/AP75 bbox/APs AR@100 psnr PSNR val/psnr ssim ms_ssim SSIM
        inception_score is IS_mean clip_score mota idf1 hota pck panoptic_quality structural_similarity
        pixel_accuracy""",
    "speech and language": """
        mos MOS dnsmos pesq stoi ShortTimeObjectiveIntelligibility ScaleInvariantSignalDistortionRatio estoi
        snr SNR si-sdr si_sdr SI-SNRi sdr signal_to_noise_ratio bleu BLEU sacrebleu bleu-4 rouge1 rouge2
        rouge-l rougeL rougeLsum/v1/mean rouge1/v1/mean chrf chrf++ meteor bertscore bertscore_f1
        bert_score/f1 exact_match exact_match/v1 em eval_em squad_f1 faithfulness faithfulness/v1/mean
        answer_relevance/v1/p90 answer_similarity/v1/mean answer_correctness/v1/mean relevance/v1/mean
        groundedness context_precision context_recall coherence fluency helpfulness safety/mean
        correctness/mean relevance_to_query/mean pass@1 pass_at_10 pass_rate hellaswag/acc_norm mmlu elo
        bleurt comet cider retrieval_groundedness/mean precision_at_3/v1/mean ndcg_at_3/v1/mean
        guidelines/pass_rate entailment""",
    "clustering and survival": """
        silhouette silhouette_avg calinski_harabasz ari ARI nmi NMI ami purity homogeneity v_measure
        rand_index adjusted_rand_index dunn_index concordance_index c_index c-index cindex harrell_c_index
        time_dependent_auc gap_statistic""",
    "probability and fairness": """
        auc AUC test/AUC roc-auc pr_auc aupr tpr TPR tnr true_positive_rate true_negative_rate ppv npv
        negative_predictive_value positive_predictive_value tpr_at_fpr_0.01 tpr@fpr=0.01 mcc qwk cohen_kappa
        kappa youden_index demographic_parity_ratio one_minus_error 1-wer error_free_rate g_mean""",
    "business": """
        revenue revenue_per_user profit net_profit_usd pnl PnL profit_and_loss sharpe sharpe_ratio sortino
        calmar_ratio win_loss_ratio profit_factor total_return annual_return conversion conversion_rate ctr
        click_through_rate roi roas return_on_investment retention retention_rate nps csat arpu ltv clv gmv
        customer_satisfaction engagement_rate uplift cost_savings cost_reduction error_reduction
        latency_improvement time_saved sales business/revenue fill_rate service_level uptime availability mtbf
        mean_time_to_failure mean_time_between_failures success_rate hit_ratio cache_hit_rate
        requests_per_minute qps goodput signups""",
    "what stands around a word": """
        brier_skill_score rmse_skill_score mse_skill_score crpss SkillScoreRMSE skill_score/rmse
        brier_skill latency_slo_attainment latency_slo_compliance sla_compliance latency_slo_met
        errors_corrected errors_fixed bugs_fixed error_correction_rate gap_closed
        optimality_gap_closed resolved_incidents incidents_resolved corrected_errors
        errors_fixed_count errors_corrected_per_second mean_error_reduction ERR@20 val/ERR@10 nERR@5
        ERR_at_20 insertion_auc credit_risk_auc evidence_lower_bound precision_conf_0.5""",
    "of single fields": """
        PRAUC IntersectionOverUnion val/intersection_over_union GeneralizedIntersectionOverUnion
        CramersV cramers_v bpref f0.5 val_f0.5 F0.5 f0.5_score llf trustworthiness las uas dep_las
        mauve lddt plddt gdt_ts goal_reached icc""",
}

NEITHER = {
    "counts": """
        epoch step global_step n_estimators num_examples n_samples token_count example_count total_tokens
        num_tokens n_clusters count row_count num_rows num_correct hit_count best_iteration best_epoch
        stopped_epoch restored_epoch support weighted~avg/support time/iterations time/total_timesteps
        train/n_updates rollout/ep_len_mean eval/mean_ep_length episode_len_mean num_env_steps_sampled
        charts/episodic_length episodes_this_iter total_flos model_size num_parameters params batch_size
        prompt_tokens completion_length completions/mean_length token_count/v1/mean iterations
        best_val_loss_epoch num_classes reward_count""",
    "settings": """
        lr learning_rate lr-Adam lr/pg0 train/learning_rate weight_decay momentum dropout dropout_rate
        decay_rate alpha epsilon temperature f1_threshold best_threshold loss_scale loss_weight kl_coef
        cur_kl_coeff entropy_coeff train/ent_coef sampling_rate exploration_rate rollout/exploration_rate
        train/clip_range clip_fraction train/clip_fraction losses/clipfrac losses/alpha charts/learning_rate
        seed acceptance_rate selection_rate max_depth stop_loss""",
    "spreads": """
        std_test_score std_fit_time std_score_time std_train_score test_score_std reward_std loss/std
        latency/variance toxicity/v1/variance accuracy_std acc_stderr train/std val_f1_stddev std_accuracy
        rewards/format_reward_func/std frac_reward_zero_std is_std f1_var loss_variance error_sem accuracy_ci""",
    "machines and what has no side": """
        system/cpu_utilization_percentage system/gpu_0_memory_usage_megabytes system/network_receive_megabytes
        gpu_utilization cpu_usage memory_usage_mb grad_norm gradient_norm weight_norm entropy losses/entropy
        policy_entropy train/approx_kl losses/old_approx_kl coverage bias volatility value score_delta
        accuracy_diff z_score p_value anomaly_score glossary ключ foo x metric_1 timestamp start_time end_time
        time_since_restore disparate_impact logps/chosen rewards/rejected losses/qf1_values best_value
        objective q_values gloss population 1-shot neg_f1 negative_precision attack_success_rate D_G_z1
        temperature_mean r p gamma""",
    "surrogate and adversarial losses": """
        train/policy_gradient_loss train/entropy_loss ppo/loss/policy train/actor_loss policy_loss
        losses/policy_loss train/ent_coef_loss alpha_loss loss_entropy pg_loss LossPi loss_pi
        actor/train/loss D_loss G_loss d_loss g_loss generator_loss discriminator_loss gen/loss
        lossD Loss_G loss_D_real d_loss_real d_fake_loss D_A_loss loss_G_GAN netG_loss errD errG
        gan_loss adv_loss""",
    "errors with a sign, bounds of confidence, and what may mean either": """
        mean_error val/mean_error MeanError avg_error mean_percentage_error signed_error error_fixed
        standard_errors rmse_ci_lower accuracy_ci_upper accuracy_ci_low accuracy_lower
        accuracy_upper_95 auc_lower_bound rmse_ucb lower_ci_auc auc_conf_low accuracy_ci95_hi test_score_ci_lower
        sa_score docking_score brier_skill_score_std skill_score_threshold ks_statistic gini
        latency_slo latency_under_slo latency_within_slo non_compliance""",
}
